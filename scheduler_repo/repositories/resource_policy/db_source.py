"""Resource policies in PostgreSQL."""

from collections.abc import Sequence
from typing import Optional

import msgspec
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.lookups import SLOT_TYPES
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.entities.resource_policy import ResourcePolicy, ResourcePolicySpec
from scheduler_repo.models.quota import ResourcePolicyRow
from scheduler_repo.repositories.quota.requiring import no_such_policy
from scheduler_repo.repositories.resource_policy.columns import check_policies, policy_row
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.snapshot.build import slot_types_by_index
from scheduler_repo.slots import read_slot_limits
from scheduler_repo.types import OperationId, ResourcePolicyName, TransactionId
from scheduler_repo.validation import check_limit, check_name

SET_RESOURCE_POLICIES = load_statement("resource_policy/set_resource_policies")
LOCK_POLICY_QUOTAS = load_statement("resource_policy/lock_policy_quotas")

_SET_RESOURCE_POLICIES = IdempotentWrite("set_resource_policies", TransactionId)
_COLUMNS = (
    ResourcePolicyRow.name,
    ResourcePolicyRow.slot_limits,
    ResourcePolicyRow.max_concurrent_sessions,
    ResourcePolicyRow.max_kernels_per_session,
)
_Row = sa.Row[ResourcePolicyName, list[Optional[int]], Optional[int], Optional[int]]


class _AllPolicies(msgspec.Struct, frozen=True):
    """The question that has no filter."""


_CURSORS = CursorCodec("search_resource_policies", ResourcePolicyName)
_resilience = layer_resilience(LayerType.RESOURCE_POLICY_DB_SOURCE)


class ResourcePolicyDBSource:
    """Reads and sets resource policies."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.READ)
    async def get_resource_policy(self, name: ResourcePolicyName) -> ResourcePolicy:
        """Return one policy; raises ResourcePolicyNotFound and InvalidInput. Costs two statements."""
        found = await self._find(name)
        if found is None:
            raise no_such_policy(name)
        return found

    @_resilience.apply(OperationKind.READ)
    async def find_resource_policy(self, name: ResourcePolicyName) -> Optional[ResourcePolicy]:
        """Return one policy, or None; raises InvalidInput. Costs two statements."""
        return await self._find(name)

    @_resilience.apply(OperationKind.READ)
    async def search_resource_policies(
        self, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[ResourcePolicy]:
        """Return a page of all policies, by name; raises InvalidLimit and InvalidCursor.

        Costs two statements.
        """
        check_limit(limit)
        statement = sa.select(*_COLUMNS).order_by(ResourcePolicyRow.name).limit(limit + 1)
        if cursor is not None:
            name = _CURSORS.decode(_AllPolicies(), cursor)
            statement = statement.where(ResourcePolicyRow.name > name)
        async with self._engine.begin_readonly_session() as db_sess:
            slot_types = await fetch_rows(db_sess, SLOT_TYPES)
            rows = (await db_sess.execute(statement)).all()
        width = len(slot_types_by_index(slot_types))
        more = len(rows) > limit
        return Page(
            tuple(_policy(row, width) for row in rows[:limit]),
            _CURSORS.encode(_AllPolicies(), rows[limit - 1].name) if more else None,
        )

    @_resilience.apply(OperationKind.WRITE)
    async def set_resource_policies(
        self, policies: Sequence[ResourcePolicySpec], operation_id: Optional[OperationId] = None
    ) -> Optional[TransactionId]:
        """Create policies or replace those that exist, all or none.

        Raises UnknownSlotType, InvalidQuantity, InvalidInput, OperationMismatch and OutcomeUnknown. Costs five
        statements.
        """
        check_policies(policies)
        if not policies:
            return None

        async def write_policies(write: WriteTransaction) -> TransactionId:
            slot_types = slot_types_by_index(await fetch_rows(write.db_sess, SLOT_TYPES))
            slot_names = [slot_type.name for slot_type in slot_types]
            rows = [policy_row(policy, slot_names) for policy in policies]
            await fetch_rows(
                write.db_sess, SET_RESOURCE_POLICIES, *(list(column) for column in zip(*rows, strict=True))
            )
            await fetch_rows(write.db_sess, LOCK_POLICY_QUOTAS, [policy.name for policy in policies])
            return write.transaction_id

        return await _SET_RESOURCE_POLICIES.run(
            self._engine, write_policies, request=policies, operation_id=operation_id
        )

    async def _find(self, name: ResourcePolicyName) -> Optional[ResourcePolicy]:
        check_name(name, "resource policy")
        statement = sa.select(*_COLUMNS).where(ResourcePolicyRow.name == name)
        async with self._engine.begin_readonly_session() as db_sess:
            slot_types = await fetch_rows(db_sess, SLOT_TYPES)
            row = (await db_sess.execute(statement)).one_or_none()
        return None if row is None else _policy(row, len(slot_types_by_index(slot_types)))


def _policy(row: _Row, width: int) -> ResourcePolicy:
    name, slot_limits, max_concurrent_sessions, max_kernels_per_session = row
    return ResourcePolicy(
        name, read_slot_limits(slot_limits, width), max_concurrent_sessions, max_kernels_per_session
    )
