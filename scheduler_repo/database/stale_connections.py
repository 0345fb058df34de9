"""Errors that tell which of the pool's connections are stale."""

import enum
from typing import Final

import asyncpg

from scheduler_repo.database.errors import find_driver_error

# The schema was changed since the statement was prepared.
_PLANS_OF_THE_PAST: Final = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)
# The statement fails, or fails as it was prepared: its parameters keep the types that they had then, for ever.
_PERHAPS_OF_THE_PAST: Final = (
    asyncpg.UndefinedFunctionError,
    asyncpg.DatatypeMismatchError,
    asyncpg.CannotCoerceError,
    asyncpg.IndeterminateDatatypeError,
    asyncpg.InternalServerError,
)


class Staleness(enum.Enum):
    """Which connections are to be given up after an error."""

    NONE = "none"
    THIS = "this"
    ALL = "all"


def find_staleness(error: BaseException, *, writes: bool) -> Staleness:
    """Return which connections are of the past, after an error of a session that ``writes`` or only reads.

    A write that the server refuses as it only reads: after a fail-over behind one address, all that were made
    before may lead to the former primary.
    """
    found = find_driver_error(error)
    if isinstance(found, _PLANS_OF_THE_PAST):
        return Staleness.ALL
    if writes and isinstance(found, asyncpg.ReadOnlySQLTransactionError):
        return Staleness.ALL
    return Staleness.THIS if isinstance(found, _PERHAPS_OF_THE_PAST) else Staleness.NONE
