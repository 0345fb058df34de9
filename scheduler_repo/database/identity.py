"""Which database a value was read from, so that no copy of it is believed to be of another one.

A running server has one history: a promoted standby, a restored backup and a copy of its files have starts of
their own. On it, a copy of a database has another oid, and another schema's tables have theirs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Final, Optional
from weakref import WeakKeyDictionary

import asyncpg
import msgspec

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession, driver_connection
from scheduler_repo.database.lookups import SNAPSHOT
from scheduler_repo.database.statements import fetch_rows
from scheduler_repo.entities.snapshot_token import DatabaseIdentity

# A connection leads to one server for good, but a schema may be renamed and another put in its place.
BELIEVED_SECONDS: Final = 5.0


class Origin(msgspec.Struct):
    """The database that the reads inside ``recording_origin`` came from last; None for none that said so."""

    database: Optional[DatabaseIdentity] = None


class _Known(msgspec.Struct, frozen=True):
    database: DatabaseIdentity
    asked_at: float


_recorded: ContextVar[Optional[Origin]] = ContextVar("_recorded", default=None)
_known: "WeakKeyDictionary[asyncpg.Connection[asyncpg.Record], _Known]" = WeakKeyDictionary()


@contextmanager
def recording_origin() -> Iterator[Origin]:
    """Record where the reads inside the block come from."""
    origin = Origin()
    token = _recorded.set(origin)
    try:
        yield origin
    finally:
        _recorded.reset(token)


def record_origin(database: DatabaseIdentity) -> None:
    """Say where a read came from, to who records it."""
    origin = _recorded.get()
    if origin is not None:
        origin.database = database


async def record_connection(engine: ExtendedAsyncSAEngine, db_sess: SASession) -> None:
    """Say where the reads of a session come from, to who records it.

    Costs one statement per connection and 5 s, behind a pooler in transaction mode one each time; nothing if
    nobody records it.
    """
    if _recorded.get() is None:
        return
    driver = driver_connection(db_sess)
    known = _known.get(driver)
    if known is None or engine.shares_connections or monotonic() - known.asked_at > BELIEVED_SECONDS:
        asked_at = monotonic()
        known = _known[driver] = _Known(await fetch_identity(db_sess), asked_at)
    record_origin(known.database)


async def fetch_identity(db_sess: SASession) -> DatabaseIdentity:
    """Ask which database this is; costs one statement."""
    (row,) = await fetch_rows(db_sess, SNAPSHOT)
    return DatabaseIdentity(*row[2:6])


def name_database(database: DatabaseIdentity) -> str:
    """Name a database so that no other one has the same name."""
    started_at = database.started_at.isoformat()
    return f"{database.system_identifier}/{database.database_oid}/{database.table_oid}/{started_at}"
