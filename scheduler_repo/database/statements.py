"""The hot statements: one file each under ``sql/queries``, run through the driver as they stand."""

from collections.abc import Sequence

import msgspec
from asyncpg import Record

from scheduler_repo.database.engine import SASession, driver_connection
from scheduler_repo.database.sql_files import SQL_ROOT
from scheduler_repo.errors import TransactionConflict


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
    rows: list[Record] = await driver_connection(db_sess).fetch(statement.text, *parameters)
    return rows


async def expect_rows(db_sess: SASession, count: int, statement: Statement, *parameters: object) -> None:
    """Run a guarded UPDATE; raises TransactionConflict unless it changed ``count`` rows.

    The locks make that impossible among writers that take them; this protects against those that do not.
    """
    changed = len(await fetch_rows(db_sess, statement, *parameters))
    if changed != count:
        raise TransactionConflict(
            f"{statement.name} found {changed} of {count} rows as they were under lock; "
            "something writes without the locks, nothing was written"
        )


async def change_rows(
    db_sess: SASession, statement: Statement, width: int, rows: Sequence[Sequence[object]]
) -> None:
    """Run a guarded UPDATE that takes one array for each of the ``width`` columns of ``rows``.

    Raises TransactionConflict unless it changed every row.
    """
    await expect_rows(db_sess, len(rows), statement, *([row[at] for row in rows] for at in range(width)))
