"""The statement of a search: one page in order, each condition on the index that serves it.

A page is read from one index in its order, from where the last one ended, and no further than it is long. The
sessions of a user are those of its access keys, and those of a domain are its projects': a page is then read
for each of them, and the first of all are taken, so that it costs by their number, and not by the length of
history. What no index serves (status, type and name) is looked at session by session in that order.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, Optional

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import Statement, fetch_rows
from scheduler_repo.entities.session import SessionFilter, SessionOrder
from scheduler_repo.types import SessionId

if TYPE_CHECKING:
    from asyncpg import Record

# Where a page ends: creation time and id of its last session.
PageKey = tuple[datetime, SessionId]

_COLUMNS: Final = (
    "s.id, s.name, s.scaling_group, s.access_key, s.session_type, s.status, s.result, s.created_at,"
    " s.status_changed_at"
)
# The sums over the kernels by slot index; as text, for they may be above 63 bits.
_REQUESTED_SLOTS: Final = """ARRAY(
    SELECT sum(amount)::text
    FROM kernels AS k CROSS JOIN LATERAL unnest(k.requested_slots) WITH ORDINALITY AS r (amount, position)
    WHERE k.session_id = s.id
    GROUP BY position
    ORDER BY position
) AS requested_slots"""


class _Lane(NamedTuple):
    """Rows of another table, each of which has its sessions in one index, in the order of pages."""

    field: str
    table: str
    condition: str
    join: str


# The first of them that the filter names is taken. The planner does not know the value when it plans what is
# read for one row: else it takes a common one for a reason to walk through all sessions, past those of others.
_LANES: Final = (
    _Lane("access_key", "keypairs", "lane.access_key = ", "s.access_key = lane.access_key"),
    _Lane("user_id", "keypairs", "lane.user_id = ", "s.access_key = lane.access_key"),
    _Lane("project_id", "projects", "lane.id = ", "s.project_id = lane.id"),
    _Lane("scaling_group", "scaling_groups", "lane.name = ", "s.scaling_group = lane.name"),
    _Lane("domain_name", "projects", "lane.domain_name = ", "s.project_id = lane.id"),
)


class Search:
    """One page of a search as a statement and its parameters."""

    def __init__(
        self, wanted: SessionFilter, order: SessionOrder, limit: int, after: Optional[PageKey]
    ) -> None:
        """Take what is asked; ``after`` None begins at the beginning."""
        self.parameters: list[object] = []
        placeholders = {
            field: self._parameter(value, kind)
            for field, kind, value in (
                ("access_key", "text", wanted.access_key),
                ("user_id", "uuid", wanted.user_id),
                ("project_id", "uuid", wanted.project_id),
                ("scaling_group", "text", wanted.scaling_group),
                ("domain_name", "text", wanted.domain_name),
                ("session_type", "text", wanted.session_type),
                ("name", "text", wanted.name),
            )
            if value is not None
        }
        lane = next((lane for lane in _LANES if lane.field in placeholders), None)
        # A key is its user's and a project its domain's: what the lane says need not be said again.
        conditions = [
            f"s.{field} = {placeholder}"
            for field, placeholder in placeholders.items()
            if lane is None or lane.field != field
        ]
        if wanted.statuses is not None:
            statuses = [status.value for status in wanted.statuses]
            conditions.append(f"s.status = ANY ({self._parameter(statuses, 'text[]')})")
        if wanted.created_from is not None:
            conditions.append(f"s.created_at >= {self._parameter(wanted.created_from, 'timestamptz')}")
        if wanted.created_until is not None:
            conditions.append(f"s.created_at < {self._parameter(wanted.created_until, 'timestamptz')}")
        newest_first = order is SessionOrder.NEWEST_FIRST
        if after is not None:
            key = f"({self._parameter(after[0], 'timestamptz')}, {self._parameter(after[1], 'uuid')})"
            conditions.append(f"(s.created_at, s.id) {'<' if newest_first else '>'} {key}")
        direction = " DESC" if newest_first else ""
        page = f"ORDER BY s.created_at{direction}, s.id{direction} LIMIT {self._parameter(limit, 'bigint')}"
        # Names and conditions are this module's constants, values are parameters.
        if lane is None:
            where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
            source = f"sessions AS s {where}"
        else:
            own = " AND ".join((lane.join, *conditions))
            source = (
                f"(SELECT s.* FROM {lane.table} AS lane CROSS JOIN LATERAL ("  # noqa: S608
                f"SELECT {_COLUMNS} FROM sessions AS s WHERE {own} {page}"
                f") AS s WHERE {lane.condition}{placeholders[lane.field]} {page}) AS s "
            )
        text = f"SELECT {_COLUMNS}, {_REQUESTED_SLOTS} FROM {source}{page}"  # noqa: S608
        self.statement = Statement("search_sessions", text)

    def _parameter(self, value: object, kind: str) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}::{kind}"


async def fetch_page(db_sess: SASession, search: Search) -> "list[Record]":
    """Run a search in the session's transaction; costs one statement."""
    return await fetch_rows(db_sess, search.statement, *search.parameters)
