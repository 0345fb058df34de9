"""Rows that other transactions keep locked: left for later by a batch, and named to whoever asked for them.

A write takes its locks as ``locks.py`` says and waits for each a short time. Where that is not enough the
transaction, which has done nothing, is rolled back and run once more; this second try takes whatever row locks
it can get without waiting, by the statements below, and rejects the items whose rows are not among them. Then
the write goes on with its own statements, on rows that it has locked already.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Optional, TypeVar

import asyncpg
import msgspec
from msgspec.structs import replace

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession, driver_connection, skips_locked
from scheduler_repo.database.errors import find_driver_error
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.errors import DatabaseTimeout, LockNotAvailable, SchedulerRepoError
from scheduler_repo.types import SessionId

T = TypeVar("T")
KeyT = TypeVar("KeyT", bound=Hashable)

# The second try waits for nothing that it knows of; this is for what else a trigger or a foreign key locks.
_SECOND_TRY_SECONDS: Final = 0.1
# "while locking tuple (0,7) in relation "agents"", in the server's language.
_WAITED_FOR: Final = re.compile(r'\((\d+),(\d+)\).*?"([^"]+)"')

# The processes whose transactions hold a row, by its xmax: a transaction, or a multixact of several. Their
# numbers overlap, so a holder must have a lock on the table too, as whoever locks a row has.
_HOLDERS: Final = """
    ARRAY(
        SELECT DISTINCT holder.pid
        FROM pg_locks AS holder
        JOIN pg_locks AS of_table ON of_table.pid = holder.pid AND of_table.locktype = 'relation'
            AND of_table.relation = '{table}'::regclass
        WHERE holder.locktype = 'transactionid' AND holder.granted AND holder.pid <> pg_backend_pid()
            AND (holder.transactionid = {xmax} OR holder.transactionid IN (
                SELECT member.xid
                FROM pg_get_multixact_members(
                    CASE WHEN mxid_age({xmax}) BETWEEN 1 AND (SELECT mxid_age(datminmxid) FROM pg_database
                                                              WHERE datname = current_database())
                         THEN {xmax} END) AS member))
        ORDER BY holder.pid
    )"""


class RowLocks(msgspec.Struct, frozen=True):
    """Rows that a write locks: those of ``source`` that meet ``condition``, of which each stands for an item.

    ``strength`` None: the role may not lock them, but only find those that others hold.
    """

    table: str
    key: str
    item: str
    condition: str
    strength: Optional[str] = "NO KEY UPDATE"
    join: str = ""

    @property
    def text(self) -> str:
        """The statement: it locks what it can, and answers item, row and holders of what it cannot."""
        holders = _HOLDERS.format(table=self.table, xmax="wanted.locker")
        source = f"{self.table} AS t {self.join} WHERE {self.condition}"
        # All parts are this module's constants.
        wanted = f"SELECT {self.key} AS key, {self.item} AS item, t.xmax AS locker FROM {source}"  # noqa: S608
        if self.strength is None:
            taken, untaken = "", f"wanted.locker <> '0'::xid AND cardinality({holders}) > 0"
        else:
            lock = f"SELECT {self.key} AS key FROM {source} FOR {self.strength} OF t SKIP LOCKED"  # noqa: S608
            taken, untaken = f", taken AS MATERIALIZED ({lock})", "key NOT IN (SELECT taken.key FROM taken)"
        return (
            f"WITH wanted AS MATERIALIZED ({wanted}){taken} "  # noqa: S608
            f"SELECT wanted.item, wanted.key, {holders} AS pids, '{self.table}' AS table_name "
            f"FROM wanted WHERE {untaken} ORDER BY wanted.key"
        )


_OF_SESSIONS: Final = "t.session_id = ANY ($1::uuid[])"
_NOT_ENDED: Final = "t.status NOT IN ('TERMINATED', 'CANCELLED', 'ERROR')"

SESSIONS: Final = RowLocks("sessions", "t.id::text", "t.id", "t.id = ANY ($1::uuid[])")
KERNELS: Final = RowLocks("kernels", "t.id::text", "t.session_id", f"{_OF_SESSIONS} AND {_NOT_ENDED}")
RESERVATIONS: Final = RowLocks("reservations", "t.session_id::text", "t.session_id", _OF_SESSIONS, "UPDATE")
KERNEL_RESERVATIONS: Final = RowLocks(
    "kernel_reservations", "t.kernel_id::text", "t.session_id", _OF_SESSIONS, None
)
_GROUPS_OF_SESSIONS: Final = RowLocks(
    "scaling_groups",
    "t.name",
    "s.id",
    "s.id = ANY ($1::uuid[])",
    "KEY SHARE",
    "JOIN sessions AS s ON s.scaling_group = t.name",
)
# A row that is updated twice in one transaction has its foreign keys checked again.
_REQUEUED: Final = tuple(
    RowLocks(table, key, "s.id", "s.id = ANY ($1::uuid[])", "KEY SHARE", f"JOIN sessions AS s ON {condition}")
    for table, key, condition in (
        ("keypairs", "t.access_key", "s.access_key = t.access_key"),
        ("projects", "t.id::text", "s.project_id = t.id"),
    )
)
_GROUPS_OF_AGENTS: Final = RowLocks(
    "scaling_groups",
    "t.name",
    "a.id",
    "a.id = ANY ($1::text[])",
    "KEY SHARE",
    "JOIN agents AS a ON a.scaling_group = t.name",
)
_SLOT_TYPES_OF_AGENTS: Final = RowLocks(
    "slot_types",
    "t.name",
    "s.agent_id",
    "s.agent_id = ANY ($1::text[])",
    "KEY SHARE",
    "JOIN agent_slots AS s ON s.slot_name = t.name",
)
SLOT_TYPES: Final = RowLocks("slot_types", "t.name", "t.name", "t.name = ANY ($1::text[])", "KEY SHARE")
# What a write locks of a session, and what it locks of one that goes back into the queue.
SESSION_ROWS: Final = (SESSIONS, KERNELS, RESERVATIONS, KERNEL_RESERVATIONS)
REQUEUED_ROWS: Final = (*SESSION_ROWS, _GROUPS_OF_SESSIONS, *_REQUEUED)
QUOTAS: Final = RowLocks(
    "quotas",
    "concat_ws(' ', t.scope, t.owner_id)",
    "(t.scope, t.owner_id)",
    "((t.scope = 'ACCESS_KEY' AND t.owner_id = ANY ($1::text[]))"
    " OR (t.scope = 'USER' AND t.owner_id = ANY ($2::uuid[]::text[]))"
    " OR (t.scope = 'PROJECT' AND t.owner_id = ANY ($3::uuid[]::text[]))"
    " OR (t.scope = 'DOMAIN' AND t.owner_id = ANY ($4::text[])))",
)
AGENTS: Final = RowLocks("agents", "t.id", "t.id", "t.id = ANY ($1::text[])")
AGENTS_THERE: Final = RowLocks("agents", "t.id", "t.id", "t.id = ANY ($1::text[])", "KEY SHARE")
AGENT_SLOTS: Final = RowLocks(
    "agent_slots", "concat_ws(' ', t.agent_id, t.slot_name)", "t.agent_id", "t.agent_id = ANY ($1::text[])"
)
AGENT_HEARTBEATS: Final = RowLocks(
    "agent_heartbeats", "t.agent_id", "t.agent_id", "t.agent_id = ANY ($1::text[])"
)
_ON_AGENTS: Final = "JOIN kernel_reservations AS held ON held.session_id = t.session_id"
RESERVATIONS_ON_AGENTS: Final = RowLocks(
    "reservations",
    "t.session_id::text",
    "held.agent_id",
    "held.agent_id = ANY ($1::text[])",
    "UPDATE",
    _ON_AGENTS,
)
KERNEL_RESERVATIONS_ON_AGENTS: Final = RowLocks(
    "kernel_reservations",
    "t.kernel_id::text",
    "held.agent_id",
    "held.agent_id = ANY ($1::text[])",
    None,
    _ON_AGENTS,
)
# What goes with a finished session that is purged; whoever purges may not lock it, the purge's function does.
PURGED_ROWS: Final = tuple(
    RowLocks(table, key, "t.session_id", _OF_SESSIONS, None)
    for table, key in (
        ("kernels", "t.id::text"),
        ("reservations", "t.session_id::text"),
        ("kernel_reservations", "t.kernel_id::text"),
        ("session_history", "t.id::text"),
        ("session_dependencies", "concat_ws(' ', t.session_id, t.depends_on)"),
        ("session_vfolder_mounts", "concat_ws(' ', t.session_id, t.mount_path)"),
    )
)
# What a write locks of an agent whose counters it changes once, and twice.
AGENT_ROWS: Final = (AGENTS, AGENT_SLOTS)
RECOVERED_AGENT_ROWS: Final = (*AGENT_ROWS, _GROUPS_OF_AGENTS, _SLOT_TYPES_OF_AGENTS)
# What a change of an agent's status locks, by itself and by the trigger that ends reservations; what a report
# locks besides; and what a heartbeat locks.
STATUS_ROWS: Final = (AGENTS, AGENT_SLOTS, RESERVATIONS_ON_AGENTS, KERNEL_RESERVATIONS_ON_AGENTS)
REPORT_ROWS: Final = (*STATUS_ROWS, AGENT_HEARTBEATS, _GROUPS_OF_AGENTS)
HEARTBEAT_ROWS: Final = (AGENTS_THERE, AGENT_HEARTBEATS)
SCALING_GROUPS: Final = RowLocks("scaling_groups", "t.name", "t.name", "t.name = ANY ($1::text[])", "KEY SHARE")
ALL_SCALING_GROUPS: Final = RowLocks("scaling_groups", "t.name", "t.name", "true")
KEYPAIRS: Final = RowLocks(
    "keypairs", "t.access_key", "t.access_key", "t.access_key = ANY ($1::text[])", "KEY SHARE"
)
VFOLDERS: Final = RowLocks("vfolders", "t.id::text", "t.id", "t.id = ANY ($1::uuid[])", None)
PROJECTS: Final = RowLocks("projects", "t.id::text", "t.id", "t.id = ANY ($1::uuid[])", "KEY SHARE")


_QUOTAS_OF_SESSION: Final = replace(
    QUOTAS,
    item="s.id",
    condition="s.id = ANY ($1::uuid[])",
    join="JOIN sessions AS s ON (t.scope, t.owner_id) IN (('ACCESS_KEY', s.access_key),"
    " ('USER', s.user_id::text), ('PROJECT', s.project_id::text), ('DOMAIN', s.domain_name))",
)
# Without the group, which whoever allocates locks against its deletion: that hinders nobody.
CHANGED_ROWS: Final = (*SESSION_ROWS, _QUOTAS_OF_SESSION)


async def find_locked_rows(
    db_sess: SASession, session_ids: Sequence[SessionId], several: Iterable[RowLocks]
) -> list[tuple[SessionId, RowLocked]]:
    """Find the rows of sessions that other transactions hold; costs one statement.

    Nothing is locked for it, so any role that may read can ask.
    """
    statement = " UNION ALL ".join(f"({replace(rows, strength=None).text})" for rows in several)
    rows = await driver_connection(db_sess).fetch(statement, session_ids)
    return [(session_id, RowLocked(table, row_id, tuple(pids))) for session_id, row_id, pids, table in rows]


async def take_rows(db_sess: SASession, rows: RowLocks, *parameters: object) -> dict[KeyT, RowLocked]:
    """In a second try lock what nobody else holds, and return the items of which a row is held.

    Costs nothing in a first try, which waits for its locks; else one statement.
    """
    if not skips_locked(db_sess):
        return {}
    found: dict[KeyT, RowLocked] = {}
    for item, row_id, pids, table in await driver_connection(db_sess).fetch(rows.text, *parameters):
        found.setdefault(item, RowLocked(table, row_id, tuple(pids)))
    return found


async def take_all(
    db_sess: SASession, items: Iterable[KeyT], *several: RowLocks
) -> tuple[list[KeyT], dict[KeyT, RowLocked]]:
    """Take the rows of items, kind by kind; return the items that are left, in their order, and the others.

    Costs nothing in a first try, else one statement for each kind.
    """
    left, found = list(items), dict[KeyT, RowLocked]()
    for rows in several if skips_locked(db_sess) else ():
        found.update(await take_rows(db_sess, rows, left))
        left = [item for item in left if item not in found]
    return left, found


async def run_in_two_tries(engine: ExtendedAsyncSAEngine, attempt: Callable[[bool], Awaitable[T]]) -> T:
    """Run ``attempt(False)``; if a row stays locked, ``attempt(True)``, which is to skip what is locked.

    Each is a transaction of its own. Raises LockNotAvailable, with the row and its holders, if even the second
    had to wait.
    """
    try:
        return await attempt(False)
    except DatabaseTimeout as error:
        if not _is_of_lock(error):
            raise
    async with named_rows(engine):
        return await attempt(True)


@asynccontextmanager
async def named_rows(engine: ExtendedAsyncSAEngine) -> AsyncIterator[None]:
    """Raise LockNotAvailable, with the row and its holders, for a lock that was waited for in vain inside."""
    try:
        yield
    except DatabaseTimeout as error:
        if not _is_of_lock(error):
            raise
        row = await _find_waited_for(engine, error)
        raise LockNotAvailable(str(error)) if row is None else row.to_error() from error


async def shorten_waits(db_sess: SASession) -> None:
    """Have the rest of a second try wait no more; costs one statement."""
    await driver_connection(db_sess).execute(f"SET LOCAL lock_timeout = {round(_SECOND_TRY_SECONDS * 1000)}")


def _is_of_lock(error: DatabaseTimeout) -> bool:
    cause = error.__cause__
    return cause is not None and isinstance(find_driver_error(cause), asyncpg.LockNotAvailableError)


async def _find_waited_for(engine: ExtendedAsyncSAEngine, error: DatabaseTimeout) -> Optional[RowLocked]:
    """Find the row which was waited for; costs one statement in a transaction of its own."""
    cause = error.__cause__
    context = None if cause is None else getattr(find_driver_error(cause), "context", None)
    waited_for = None if not context else _WAITED_FOR.search(context.splitlines()[0])
    if waited_for is None:
        return None
    page, place, table = waited_for.groups()
    return await _find_row(engine, table, f"({page},{place})")


async def _find_row(engine: ExtendedAsyncSAEngine, table: str, place: str) -> Optional[RowLocked]:
    quoted = '"' + table.replace('"', '""') + '"'
    statement = f"""
        SELECT (
            SELECT string_agg(to_jsonb(t) ->> a.attname, ' ' ORDER BY k.place)
            FROM pg_index AS i
            CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
            JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            WHERE i.indrelid = t.tableoid AND i.indisprimary
        ) AS row_id, {_HOLDERS.format(table=quoted, xmax="t.xmax")} AS pids
        FROM {quoted} AS t
        WHERE t.ctid = '{place}'::tid
    """  # noqa: S608 - the server's own name of the table, and two numbers
    try:
        async with engine.begin_readonly_session() as db_sess:
            rows = await driver_connection(db_sess).fetch(statement)
    except SchedulerRepoError:
        # What was waited for has its own error; an index, for one, cannot be read.
        return None
    for row_id, pids in rows:
        return RowLocked(table, row_id or place, tuple(pids))
    return None


def without(keys: Sequence[KeyT], locked: dict[KeyT, RowLocked]) -> list[KeyT]:
    """Leave out the items whose rows are locked."""
    return [key for key in keys if key not in locked]
