"""The statements of quotas, which are the rows that allocations lock for their owners.

A write of quotas locks policies by name, then holds allocations up where a row is to be added, then locks
quotas by scope and id. Allocations lock quotas after their sessions.
"""

from collections.abc import Sequence
from typing import Final, Optional
from uuid import UUID

import sqlalchemy as sa

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.limit_rows import quota_row, require_policies
from scheduler_repo.database.lookups import (
    OWNERS,
    SNAPSHOT,
    fetch_slot_names,
    require_owners,
)
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.quota import EffectiveLimits, Quota, QuotaSpec, QuotaUsage
from scheduler_repo.models import QuotaRow
from scheduler_repo.repositories.db_source import DBSource, build_struct
from scheduler_repo.scheduling.snapshot.sent_values import read_amounts
from scheduler_repo.slots import fitted, read_slot_limits
from scheduler_repo.steps import in_slices
from scheduler_repo.types import OWNER_FIELDS, OwnerScope, ResourcePolicyName

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
_Select = sa.Select[str, str, Optional[ResourcePolicyName], list[Optional[int]], Optional[int]]


class QuotaDBSource(DBSource):
    """Reads and sets quotas; finding and listing them cost two statements."""

    async def find_quota(self, db_sess: SASession, scope: OwnerScope, owner_id: str) -> Optional[Quota]:
        """Find the quota of one owner."""
        statement = sa.select(*_COLUMNS).where(QuotaRow.scope == scope.value, QuotaRow.owner_id == owner_id)
        return next(iter(await _fetch_quotas(db_sess, statement)), None)

    async def list_quotas(
        self,
        db_sess: SASession,
        scope: Optional[OwnerScope],
        after: Optional[tuple[OwnerScope, str]],
        limit: int,
    ) -> list[Quota]:
        """List quotas, of one scope or of all, by scope and id, those behind ``after``."""
        # A scope of a newer version is left out.
        known = QuotaRow.scope.in_([each.value for each in OwnerScope])
        statement = sa.select(*_COLUMNS).where(known).order_by(QuotaRow.scope, QuotaRow.owner_id).limit(limit)
        if scope is not None:
            statement = statement.where(QuotaRow.scope == scope.value)
        if after is not None:
            place = sa.tuple_(QuotaRow.scope, QuotaRow.owner_id)
            statement = statement.where(place > (after[0].value, after[1]))
        return await _fetch_quotas(db_sess, statement)

    async def fetch_effective_limits(
        self, db_sess: SASession, scope: OwnerScope, owner_id: str
    ) -> EffectiveLimits:
        """Read what one owner may occupy at the most; raises OwnerNotFound. Costs two statements."""
        await require_owners(db_sess, [(scope, owner_id)])
        (row,) = await fetch_rows(db_sess, EFFECTIVE_LIMITS, scope.value, owner_id)
        return build_struct(EffectiveLimits, row, slot_limits=tuple(row["slot_limits"]))

    async def fetch_usage(self, db_sess: SASession, scope: OwnerScope, owner_id: str) -> QuotaUsage:
        """Read what one owner may occupy and occupies; raises OwnerNotFound. Costs four statements."""
        (snapshot,) = await fetch_rows(db_sess, SNAPSHOT)
        limits = await self.fetch_effective_limits(db_sess, scope, owner_id)
        value: object = UUID(owner_id) if OWNER_FIELDS[scope].id_type is UUID else owner_id
        # A list of ids for each scope, of which three are empty.
        owner_ids = [[value] if each is scope else [] for each in OwnerScope]
        (usage,) = await fetch_rows(db_sess, OWNERS, *owner_ids)
        occupied = fitted(read_amounts(usage["occupied"]), len(limits.slot_limits))
        return QuotaUsage(scope, owner_id, snapshot["observed_at"], limits, occupied, usage["session_count"])

    async def set_quotas(self, db_sess: SASession, quotas: Sequence[QuotaSpec]) -> None:
        """Make or replace quotas, behind allocations that go by the old ones; costs four or five statements.

        Raises OwnerNotFound, ResourcePolicyNotFound and UnknownSlotType.
        """
        slot_names = await fetch_slot_names(db_sess)
        rows = [quota_row(quota, slot_names) async for quota in in_slices(quotas)]
        await require_policies(db_sess, quotas)
        owners = await require_owners(db_sess, [(quota.scope, quota.owner_id) for quota in quotas])
        if not all(owner["has_quota"] for owner in owners):
            await fetch_rows(db_sess, AWAIT_ALLOCATIONS)
        await fetch_rows(db_sess, SET_QUOTAS, *(list(column) for column in zip(*rows, strict=True)))


async def _fetch_quotas(db_sess: SASession, statement: _Select) -> list[Quota]:
    width = len(await fetch_slot_names(db_sess))
    return [
        Quota(OwnerScope(scope), owner_id, policy, read_slot_limits(limits, width), max_sessions)
        for scope, owner_id, policy, limits, max_sessions in await db_sess.execute(statement)
    ]
