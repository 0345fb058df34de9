"""The statements of quotas, which are the rows that allocations lock for their owners.

A write of quotas locks policies by name, then holds allocations up where a row is to be added, then locks
quotas by scope and id. Allocations lock quotas after their sessions.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Optional
from uuid import UUID

import sqlalchemy as sa

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.limit_rows import quota_row, require_policies
from scheduler_repo.database.lookups import (
    OWNER_OCCUPANCY,
    OWNER_SESSION_COUNTS,
    SNAPSHOT,
    fetch_slot_names,
    require_owners,
)
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.quota import EffectiveLimits, Quota, QuotaSpec, QuotaUsage
from scheduler_repo.models.quota import QuotaRow
from scheduler_repo.repositories.db_source import DBSource
from scheduler_repo.slots import read_slot_limits
from scheduler_repo.types import OWNER_FIELDS, OwnerScope, ResourcePolicyName, SlotVector

if TYPE_CHECKING:
    from asyncpg import Record

SET_QUOTAS = load_statement("quota/set_quotas")
AWAIT_ALLOCATIONS = load_statement("quota/await_allocations")
EFFECTIVE_LIMITS = load_statement("quota/effective_limits")

_COLUMNS: Final = (
    QuotaRow.scope,
    QuotaRow.owner_id,
    QuotaRow.resource_policy,
    QuotaRow.slot_limits,
    QuotaRow.max_concurrent_sessions,
)
_Row = sa.Row[str, str, Optional[ResourcePolicyName], list[Optional[int]], Optional[int]]


class QuotaRows(NamedTuple):
    """Quotas as rows, and how many slot types there are."""

    width: int
    rows: Sequence[_Row]


class UsageRows(NamedTuple):
    """An owner's limits and usage, as rows of one snapshot."""

    snapshot: "Record"
    limits: "Record"
    occupancy: "Sequence[Record]"
    session_counts: "Sequence[Record]"


class QuotaDBSource(DBSource):
    """Reads and sets quotas; finding and listing them cost two statements."""

    async def find_quota(self, db_sess: SASession, scope: OwnerScope, owner_id: str) -> QuotaRows:
        """Find the quota of one owner, or none."""
        width = len(await fetch_slot_names(db_sess))
        statement = sa.select(*_COLUMNS).where(QuotaRow.scope == scope.value, QuotaRow.owner_id == owner_id)
        return QuotaRows(width, (await db_sess.execute(statement)).all())

    async def list_quotas(
        self,
        db_sess: SASession,
        scope: Optional[OwnerScope],
        after: Optional[tuple[OwnerScope, str]],
        limit: int,
    ) -> QuotaRows:
        """List quotas, of one scope or of all, by scope and id, those behind ``after``."""
        statement = sa.select(*_COLUMNS).order_by(QuotaRow.scope, QuotaRow.owner_id).limit(limit)
        if scope is not None:
            statement = statement.where(QuotaRow.scope == scope.value)
        if after is not None:
            place = sa.tuple_(QuotaRow.scope, QuotaRow.owner_id)
            statement = statement.where(place > (after[0].value, after[1]))
        width = len(await fetch_slot_names(db_sess))
        return QuotaRows(width, (await db_sess.execute(statement)).all())

    async def fetch_effective_limits(self, db_sess: SASession, scope: OwnerScope, owner_id: str) -> "Record":
        """Read what one owner may occupy at the most; raises OwnerNotFound. Costs two statements."""
        await require_owners(db_sess, [(scope, owner_id)])
        (limits,) = await fetch_rows(db_sess, EFFECTIVE_LIMITS, scope.value, owner_id)
        return limits

    async def fetch_usage(self, db_sess: SASession, scope: OwnerScope, owner_id: str) -> UsageRows:
        """Read what one owner may occupy and occupies; raises OwnerNotFound. Costs five statements."""
        (snapshot,) = await fetch_rows(db_sess, SNAPSHOT)
        limits = await self.fetch_effective_limits(db_sess, scope, owner_id)
        value: object = UUID(owner_id) if OWNER_FIELDS[scope].id_type is UUID else owner_id
        # A list of ids for each scope, of which three are empty.
        owner_ids = [[value] if each is scope else [] for each in OwnerScope]
        occupancy = await fetch_rows(db_sess, OWNER_OCCUPANCY, *owner_ids)
        return UsageRows(
            snapshot, limits, occupancy, await fetch_rows(db_sess, OWNER_SESSION_COUNTS, *owner_ids)
        )

    async def set_quotas(self, db_sess: SASession, quotas: Sequence[QuotaSpec]) -> None:
        """Make or replace quotas, behind allocations that go by the old ones; costs four or five statements.

        Raises OwnerNotFound, ResourcePolicyNotFound and UnknownSlotType.
        """
        slot_names = await fetch_slot_names(db_sess)
        rows = [quota_row(quota, slot_names) for quota in quotas]
        await require_policies(db_sess, quotas)
        owners = await require_owners(db_sess, [(quota.scope, quota.owner_id) for quota in quotas])
        if not all(owner["has_quota"] for owner in owners):
            await fetch_rows(db_sess, AWAIT_ALLOCATIONS)
        await fetch_rows(db_sess, SET_QUOTAS, *(list(column) for column in zip(*rows, strict=True)))


def quotas_from_rows(found: QuotaRows) -> list[Quota]:
    """Build quotas from their rows, in their order."""
    return [
        Quota(OwnerScope(scope), owner_id, policy, read_slot_limits(limits, found.width), max_sessions)
        for scope, owner_id, policy, limits, max_sessions in found.rows
    ]


def limits_from_row(row: "Record") -> EffectiveLimits:
    """Build limits from a row of effective_limits.sql."""
    policy, slot_limits, max_concurrent_sessions, max_kernels_per_session = row
    return EffectiveLimits(policy, tuple(slot_limits), max_concurrent_sessions, max_kernels_per_session)


def usage_from_rows(scope: OwnerScope, owner_id: str, rows: UsageRows) -> QuotaUsage:
    """Build the usage of one owner."""
    limits = limits_from_row(rows.limits)
    occupied = _join(rows.occupancy, len(limits.slot_limits))
    session_count = sum(row["session_count"] for row in rows.session_counts)
    return QuotaUsage(scope, owner_id, rows.snapshot["observed_at"], limits, occupied, session_count)


def _join(rows: "Sequence[Record]", width: int) -> SlotVector:
    """Join the amounts of one owner; longer than ``width`` only where there is something beyond it."""
    amounts = {
        index: amount
        for row in rows
        for index, amount in enumerate(row["occupied"], start=row["first_slot_index"])
        if amount or index < width
    }
    return tuple(amounts.get(index, 0) for index in range(max(width, *(index + 1 for index in amounts), 0)))
