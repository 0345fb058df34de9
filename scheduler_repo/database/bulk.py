"""Many rows at once: COPY for new rows, unnest for rows that may be there already."""

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Optional

from scheduler_repo.database.engine import SASession, driver_connection
from scheduler_repo.errors import InvalidInput
from scheduler_repo.steps import in_slices


async def copy_rows(
    db_sess: SASession, table: str, columns: Sequence[str], rows: Iterable[tuple[object, ...]]
) -> None:
    """Add rows to a table in one COPY, all or none; they may be made while they are sent. No rows cost nothing.

    Constraints and triggers hold; columns that are left out take their defaults. Raises InvalidInput for a
    value that is not of its column's type, and, at the end of the session, what the database refused.
    """
    remaining = iter(rows)
    first = next(remaining, None)
    if first is None:
        return
    records = in_slices(chain((first,), remaining))
    try:
        await driver_connection(db_sess).copy_records_to_table(table, columns=columns, records=records)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"a value for {table} ({', '.join(columns)}) cannot be stored: {error}") from error


async def insert_missing(
    db_sess: SASession,
    table: str,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[tuple[object, ...]],
    *,
    key_width: int = 1,
) -> None:
    """Add those rows to a table whose key, the first columns, is not there yet; ``columns`` are (name, type).

    Rows go in by the order of their keys, so that two callers with the same rows wait instead of deadlocking.
    A column of an array type is given as the array's text, as unnest takes nested arrays apart. Costs one
    statement, whatever the number of rows.
    """
    if not rows:
        return
    names = ", ".join(name for name, _ in columns)
    values = ", ".join(f"{name}::{kind}" for name, kind in columns)
    arrays = ", ".join(
        f"${place}::{'text' if kind.endswith('[]') else kind}[]" for place, (_, kind) in enumerate(columns, 1)
    )
    # Table and columns are the callers' constants.
    statement = (
        f"INSERT INTO {table} ({names}) SELECT {values} FROM unnest({arrays}) AS given ({names}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(name for name, _ in columns[:key_width])}) DO NOTHING"
    )
    keyed = [(tuple(map(str, row[:key_width])), row) async for row in in_slices(rows)]
    keyed.sort(key=itemgetter(0))
    by_column = [list(column) for column in zip(*map(itemgetter(1), keyed), strict=True)]
    await driver_connection(db_sess).execute(statement, *by_column)


def array_text(amounts: Sequence[Optional[int]]) -> str:
    """Write amounts as PostgreSQL writes a bigint[]; None is NULL."""
    return "{" + ",".join("NULL" if amount is None else str(amount) for amount in amounts) + "}"
