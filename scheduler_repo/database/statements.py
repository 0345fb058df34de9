"""The hot statements: one file each under ``sql/queries``, run through the driver as they stand."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Final, TypeVar

import msgspec
from asyncpg import Record

from scheduler_repo.cancellation import run_to_end
from scheduler_repo.database.engine import SASession, driver_connection
from scheduler_repo.database.sql_files import SQL_ROOT
from scheduler_repo.errors import TransactionConflict
from scheduler_repo.steps import Steps, finish_in_slices, in_slices

T = TypeVar("T")
FetchedT = TypeVar("FetchedT")

# Some 4 ms of the driver's time.
_MOST_VALUES: Final = 16_000
# The driver writes them for some 0.1 ms.
_MANY_VALUES: Final = 500
# In the same turn of the loop the driver reads what the server has sent meanwhile.
_SLICE_BESIDE: Final = 0.00025


class Statement(msgspec.Struct, frozen=True):
    """One hot statement, under the name of its file."""

    name: str
    text: str

    @property
    def skipping_locked(self) -> "Statement":
        """The statement that leaves out the rows that others have locked, where this one waits for them."""
        return Statement(self.name, f"{self.text.rstrip()} SKIP LOCKED\n")

    @property
    def without_locks(self) -> "Statement":
        """The statement that finds the same rows and locks none; the locking clause is the last line."""
        return Statement(self.name, f"{self.text.rstrip().rpartition(chr(10))[0]}\n")


def load_statement(name: str) -> Statement:
    """Read ``sql/queries/<name>.sql``, such as ``agent/find_agent``; its statement is named by the file alone.

    Raises FileNotFoundError if the package was built without it.
    """
    file = SQL_ROOT / "queries" / f"{name}.sql"
    return Statement(file.stem, file.read_text(encoding="utf-8"))


async def fetch_rows(db_sess: SASession, statement: Statement, *parameters: object) -> list[Record]:
    """Run a hot statement in the session's transaction and return the driver's own rows.

    Costs one round trip (two the first time on a connection) and no row object beyond the driver's.
    """
    if sum(len(each) for each in parameters if isinstance(each, list)) > _MANY_VALUES:
        # The driver writes them in one piece: not in the turn of the loop in which they were put together.
        await asyncio.sleep(0)
    rows: list[Record] = await driver_connection(db_sess).fetch(statement.text, *parameters)
    return rows


async def fetch_beside(fetch: Coroutine[None, None, FetchedT], steps: Steps[T]) -> tuple[FetchedT, T]:
    """Fetch, and run steps while the server works; return both results, and raise what either does.

    A fetch is over when this is, however it ends: the connection is free.
    """
    fetching = asyncio.ensure_future(fetch)
    try:
        await asyncio.sleep(0)  # in this turn of the loop the statement is sent, one of many values in the next
        built = await finish_in_slices(steps, longest_slice=_SLICE_BESIDE)
        return await fetching, built
    except BaseException:
        fetching.cancel()
        await run_to_end(_wait_for(fetching))
        raise


async def _wait_for(fetching: "asyncio.Future[FetchedT]") -> None:
    await asyncio.wait([fetching])
    if not fetching.cancelled():
        fetching.exception()  # whoever ran it beside has an error of their own


async def expect_rows(db_sess: SASession, count: int, statement: Statement, *parameters: object) -> None:
    """Run a guarded UPDATE; raises TransactionConflict unless it changed ``count`` rows.

    The locks make that impossible among writers that take them; this protects against those that do not.
    """
    _check_changed(statement, len(await fetch_rows(db_sess, statement, *parameters)), count)


def _check_changed(statement: Statement, changed: int, count: int) -> None:
    if changed != count:
        raise TransactionConflict(
            f"{statement.name} found {changed} of {count} rows as they were under lock; "
            "something writes without the locks, nothing was written"
        )


async def fetch_by_columns(
    db_sess: SASession, statement: Statement, width: int, rows: Sequence[Sequence[object]], *others: object
) -> list[Record]:
    """Run a statement that takes one array for each of the ``width`` columns of ``rows``, then ``others``.

    Costs one statement, and more for over 16,000 values: the driver writes those of one in one piece. Where it
    locks, ``rows`` are in the order of the locks.
    """
    found: list[Record] = []
    height = max(1, _MOST_VALUES // width)
    for start in range(0, len(rows) or 1, height):
        piece = rows[start : start + height]
        columns = [[row[at] for row in piece] async for at in in_slices(range(width))]
        found += await fetch_rows(db_sess, statement, *columns, *others)
    return found


async def change_rows(
    db_sess: SASession, statement: Statement, width: int, rows: Sequence[Sequence[object]], *others: object
) -> None:
    """Run a guarded UPDATE as ``fetch_by_columns`` does.

    Raises TransactionConflict unless it changed every row.
    """
    changed = await fetch_by_columns(db_sess, statement, width, rows, *others)
    _check_changed(statement, len(changed), len(rows))
