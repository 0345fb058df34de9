"""The statements of resource policies."""

from collections.abc import Sequence
from typing import Final, Optional

import sqlalchemy as sa

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.limit_rows import policy_row
from scheduler_repo.database.lookups import fetch_slot_names
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.resource_policy import ResourcePolicy, ResourcePolicySpec
from scheduler_repo.models import ResourcePolicyRow
from scheduler_repo.repositories.db_source import DBSource
from scheduler_repo.slots import read_slot_limits
from scheduler_repo.steps import in_slices
from scheduler_repo.types import ResourcePolicyName

SET_RESOURCE_POLICIES = load_statement("resource_policy/set_resource_policies")
LOCK_POLICY_QUOTAS = load_statement("resource_policy/lock_policy_quotas")

_COLUMNS: Final = (
    ResourcePolicyRow.name,
    ResourcePolicyRow.slot_limits,
    ResourcePolicyRow.max_concurrent_sessions,
    ResourcePolicyRow.max_kernels_per_session,
)
_Select = sa.Select[ResourcePolicyName, list[Optional[int]], Optional[int], Optional[int]]


class ResourcePolicyDBSource(DBSource):
    """Reads and sets resource policies; reads cost two statements."""

    async def find_policy(self, db_sess: SASession, name: ResourcePolicyName) -> Optional[ResourcePolicy]:
        """Find one policy."""
        statement = sa.select(*_COLUMNS).where(ResourcePolicyRow.name == name)
        return next(iter(await _fetch_policies(db_sess, statement)), None)

    async def list_policies(
        self, db_sess: SASession, after: Optional[ResourcePolicyName], limit: int
    ) -> list[ResourcePolicy]:
        """List policies by name, those behind ``after``."""
        statement = sa.select(*_COLUMNS).order_by(ResourcePolicyRow.name).limit(limit)
        if after is not None:
            statement = statement.where(ResourcePolicyRow.name > after)
        return await _fetch_policies(db_sess, statement)

    async def set_policies(self, db_sess: SASession, policies: Sequence[ResourcePolicySpec]) -> None:
        """Create or replace policies, behind allocations that go by the old ones; costs three statements."""
        slot_names = await fetch_slot_names(db_sess)
        rows = [policy_row(policy, slot_names) async for policy in in_slices(policies)]
        columns = (list(column) for column in zip(*rows, strict=True))
        await fetch_rows(db_sess, SET_RESOURCE_POLICIES, *columns)
        await fetch_rows(db_sess, LOCK_POLICY_QUOTAS, [policy.name for policy in policies])


async def _fetch_policies(db_sess: SASession, statement: _Select) -> list[ResourcePolicy]:
    width = len(await fetch_slot_names(db_sess))
    return [
        ResourcePolicy(name, read_slot_limits(limits, width), max_sessions, max_kernels)
        for name, limits, max_sessions, max_kernels in await db_sess.execute(statement)
    ]
