"""The statement that searches sessions: one page in order, each condition on the index that serves it.

A page is read from one index in its order, from where the page before ended, and no further than its length.
The sessions of a user are those of its access keys, those of a domain are those of its projects: one page is
read for each key or project and the first of all are kept, so the cost grows with their number, not with
history. No index serves status, type and name: they are compared session by session in that order.
"""

from datetime import datetime
from typing import Final, NamedTuple, Optional

from scheduler_repo.database.statements import Statement
from scheduler_repo.entities.session import SessionFilter, SessionOrder
from scheduler_repo.types import SessionId

# Creation time and id of the last session of a page.
PageKey = tuple[datetime, SessionId]

_COLUMNS: Final = (
    "s.id, s.name, s.scaling_group, s.access_key, s.session_type, s.status, s.result, s.created_at,"
    " s.status_changed_at"
)
# Sums over the kernels by slot index; as text, since a sum may need more than 63 bits.
_REQUESTED_SLOTS: Final = """ARRAY(
    SELECT sum(amount)::text
    FROM kernels AS k CROSS JOIN LATERAL unnest(k.requested_slots) WITH ORDINALITY AS r (amount, position)
    WHERE k.session_id = s.id
    GROUP BY position
    ORDER BY position
) AS requested_slots"""


# The fields of a filter that one column must equal, by the order of their parameters.
_EQUAL_FIELDS: Final = {
    "access_key": "text",
    "user_id": "uuid",
    "project_id": "uuid",
    "scaling_group": "text",
    "domain_name": "text",
    "session_type": "text",
    "name": "text",
}


class _Lane(NamedTuple):
    """A table each of whose rows has its sessions in one index, in the order of pages."""

    field: str
    table: str
    condition: str
    join: str


# The first one whose field the filter gives is used. The planner does not know the value when it plans the read
# for one row; if it did, it would walk through all sessions for a common value, past those of others.
_LANES: Final = (
    _Lane("access_key", "keypairs", "lane.access_key = ", "s.access_key = lane.access_key"),
    _Lane("user_id", "keypairs", "lane.user_id = ", "s.access_key = lane.access_key"),
    _Lane("project_id", "projects", "lane.id = ", "s.project_id = lane.id"),
    _Lane("scaling_group", "scaling_groups", "lane.name = ", "s.scaling_group = lane.name"),
    _Lane("domain_name", "projects", "lane.domain_name = ", "s.project_id = lane.id"),
)


class SessionSearch:
    """One page of a search: ``statement`` and its ``parameters``."""

    def __init__(
        self, wanted: SessionFilter, order: SessionOrder, limit: int, after: Optional[PageKey]
    ) -> None:
        """Build the statement; ``after`` is where the page before ended, None begins."""
        self.parameters: list[object] = []
        placeholders = {
            field: self._add(value, kind)
            for field, kind in _EQUAL_FIELDS.items()
            if (value := getattr(wanted, field)) is not None
        }
        lane = next((lane for lane in _LANES if lane.field in placeholders), None)
        # A key is its user's and a project its domain's: the lane's own condition is not repeated.
        conditions = [
            f"s.{field} = {placeholder}"
            for field, placeholder in placeholders.items()
            if lane is None or lane.field != field
        ]
        if wanted.statuses is not None:
            statuses = [status.value for status in wanted.statuses]
            conditions.append(f"s.status = ANY ({self._add(statuses, 'text[]')})")
        if wanted.created_from is not None:
            conditions.append(f"s.created_at >= {self._add(wanted.created_from, 'timestamptz')}")
        if wanted.created_until is not None:
            conditions.append(f"s.created_at < {self._add(wanted.created_until, 'timestamptz')}")
        newest_first = order is SessionOrder.NEWEST_FIRST
        if after is not None:
            key = f"({self._add(after[0], 'timestamptz')}, {self._add(after[1], 'uuid')})"
            conditions.append(f"(s.created_at, s.id) {'<' if newest_first else '>'} {key}")
        direction = " DESC" if newest_first else ""
        page = f"ORDER BY s.created_at{direction}, s.id{direction} LIMIT {self._add(limit, 'bigint')}"
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

    def _add(self, value: object, kind: str) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}::{kind}"
