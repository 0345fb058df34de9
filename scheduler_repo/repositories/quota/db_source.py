"""Quotas in PostgreSQL: the rows that allocations lock for their owners.

Locks are taken in one order: policies by name, then the lock that holds allocations up where a row is to be
made, then quotas by scope and id. Allocations take the last two, after their sessions.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional
from uuid import UUID

import msgspec
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.lookups import (
    OWNER_OCCUPANCY,
    OWNER_SESSION_COUNTS,
    SLOT_TYPES,
    SNAPSHOT,
    require_owners,
)
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.entities.quota import EffectiveLimits, Quota, QuotaSpec, QuotaUsage
from scheduler_repo.errors import InvalidFilter, QuotaNotFound
from scheduler_repo.models.quota import QuotaRow
from scheduler_repo.quoting import shortened
from scheduler_repo.repositories.quota.columns import check_quotas, quota_row
from scheduler_repo.repositories.quota.requiring import require_policies
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.snapshot.build import slot_types_by_index
from scheduler_repo.slots import read_slot_limits
from scheduler_repo.types import OperationId, OwnerScope, ResourcePolicyName, SlotVector, TransactionId
from scheduler_repo.validation import check_kind, check_limit, check_owner_id

if TYPE_CHECKING:
    from asyncpg import Record

SET_QUOTAS = load_statement("quota/set_quotas")
AWAIT_ALLOCATIONS = load_statement("quota/await_allocations")
EFFECTIVE_LIMITS = load_statement("quota/effective_limits")

_SET_QUOTAS = IdempotentWrite("set_quotas", TransactionId)
_COLUMNS = (
    QuotaRow.scope,
    QuotaRow.owner_id,
    QuotaRow.resource_policy,
    QuotaRow.slot_limits,
    QuotaRow.max_concurrent_sessions,
)
_Row = sa.Row[str, str, Optional[ResourcePolicyName], list[Optional[int]], Optional[int]]


class _OfScope(msgspec.Struct, frozen=True):
    scope: Optional[OwnerScope]


_CURSORS = CursorCodec("search_quotas", tuple[OwnerScope, str])
_resilience = layer_resilience(LayerType.QUOTA_DB_SOURCE)


class QuotaDBSource:
    """Reads and sets quotas."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.READ)
    async def get_quota(self, scope: OwnerScope, owner_id: str) -> Quota:
        """Return the quota of one owner; raises QuotaNotFound and InvalidInput. Costs two statements."""
        found = await self._find(scope, owner_id)
        if found is None:
            raise QuotaNotFound(
                f"{scope} {shortened(owner_id)} has no quota, and is not limited by one; set_quotas makes one"
            )
        return found

    @_resilience.apply(OperationKind.READ)
    async def find_quota(self, scope: OwnerScope, owner_id: str) -> Optional[Quota]:
        """Return the quota of one owner, or None; raises InvalidInput. Costs two statements."""
        return await self._find(scope, owner_id)

    @_resilience.apply(OperationKind.READ)
    async def search_quotas(
        self,
        scope: Optional[OwnerScope] = None,
        limit: int = DEFAULT_PAGE,
        cursor: Optional[Cursor] = None,
    ) -> Page[Quota]:
        """Return a page of quotas, by scope and id; raises InvalidFilter, InvalidLimit and InvalidCursor.

        Costs two statements.
        """
        check_limit(limit)
        if scope is not None:
            check_kind(scope, OwnerScope, "scope", InvalidFilter)
        place = sa.tuple_(QuotaRow.scope, QuotaRow.owner_id)
        statement = sa.select(*_COLUMNS).order_by(QuotaRow.scope, QuotaRow.owner_id).limit(limit + 1)
        if scope is not None:
            statement = statement.where(QuotaRow.scope == scope.value)
        if cursor is not None:
            after_scope, after_id = _CURSORS.decode(_OfScope(scope), cursor)
            statement = statement.where(place > (after_scope.value, after_id))
        async with self._engine.begin_readonly_session() as db_sess:
            slot_types = await fetch_rows(db_sess, SLOT_TYPES)
            rows = (await db_sess.execute(statement)).all()
        width = len(slot_types_by_index(slot_types))
        quotas = tuple(_quota(row, width) for row in rows[:limit])
        if len(rows) <= limit:
            return Page(quotas, None)
        return Page(quotas, _CURSORS.encode(_OfScope(scope), (quotas[-1].scope, quotas[-1].owner_id)))

    @_resilience.apply(OperationKind.READ)
    async def get_effective_limits(self, scope: OwnerScope, owner_id: str) -> EffectiveLimits:
        """Return what one owner may occupy at the most; raises OwnerNotFound and InvalidInput.

        Costs two statements.
        """
        check_owner_id(scope, owner_id)
        async with self._engine.begin_readonly_session() as db_sess:
            await require_owners(db_sess, [(scope, owner_id)])
            (limits,) = await fetch_rows(db_sess, EFFECTIVE_LIMITS, scope.value, owner_id)
        return _limits(limits)

    @_resilience.apply(OperationKind.READ)
    async def get_usage(self, scope: OwnerScope, owner_id: str) -> QuotaUsage:
        """Return what one owner may occupy and what it occupies; raises OwnerNotFound and InvalidInput.

        Costs five statements.
        """
        check_owner_id(scope, owner_id)
        named = _as_parameters(scope, owner_id)
        async with self._engine.begin_readonly_session() as db_sess:
            (snapshot,) = await fetch_rows(db_sess, SNAPSHOT)
            await require_owners(db_sess, [(scope, owner_id)])
            (limits_row,) = await fetch_rows(db_sess, EFFECTIVE_LIMITS, scope.value, owner_id)
            occupancy = await fetch_rows(db_sess, OWNER_OCCUPANCY, *named)
            counts = await fetch_rows(db_sess, OWNER_SESSION_COUNTS, *named)
        limits = _limits(limits_row)
        return QuotaUsage(
            scope,
            owner_id,
            snapshot["observed_at"],
            limits,
            _occupied(
                [(row["first_slot_index"], row["occupied"]) for row in occupancy], len(limits.slot_limits)
            ),
            sum(row["session_count"] for row in counts),
        )

    @_resilience.apply(OperationKind.WRITE)
    async def set_quotas(
        self, quotas: Sequence[QuotaSpec], operation_id: Optional[OperationId] = None
    ) -> Optional[TransactionId]:
        """Make quotas or replace those that exist, all or none.

        Raises OwnerNotFound, ResourcePolicyNotFound, UnknownSlotType, InvalidQuantity, InvalidInput,
        OperationMismatch and OutcomeUnknown. Costs six statements, one more where an owner had no quota.
        """
        check_quotas(quotas)
        if not quotas:
            return None

        async def write_quotas(write: WriteTransaction) -> TransactionId:
            db_sess = write.db_sess
            slot_types = slot_types_by_index(await fetch_rows(db_sess, SLOT_TYPES))
            slot_names = [slot_type.name for slot_type in slot_types]
            rows = [quota_row(quota, slot_names) for quota in quotas]
            await require_policies(db_sess, quotas)
            owners = await require_owners(db_sess, [(quota.scope, quota.owner_id) for quota in quotas])
            if not all(owner["has_quota"] for owner in owners):
                await fetch_rows(db_sess, AWAIT_ALLOCATIONS)
            await fetch_rows(db_sess, SET_QUOTAS, *(list(column) for column in zip(*rows, strict=True)))
            return write.transaction_id

        return await _SET_QUOTAS.run(self._engine, write_quotas, request=quotas, operation_id=operation_id)

    async def _find(self, scope: OwnerScope, owner_id: str) -> Optional[Quota]:
        check_owner_id(scope, owner_id)
        statement = sa.select(*_COLUMNS).where(QuotaRow.scope == scope.value, QuotaRow.owner_id == owner_id)
        async with self._engine.begin_readonly_session() as db_sess:
            slot_types = await fetch_rows(db_sess, SLOT_TYPES)
            row = (await db_sess.execute(statement)).one_or_none()
        return None if row is None else _quota(row, len(slot_types_by_index(slot_types)))


def _limits(row: "Record") -> EffectiveLimits:
    policy, slot_limits, max_concurrent_sessions, max_kernels_per_session = row
    return EffectiveLimits(policy, tuple(slot_limits), max_concurrent_sessions, max_kernels_per_session)


def _quota(row: _Row, width: int) -> Quota:
    scope, owner_id, policy, slot_limits, max_concurrent_sessions = row
    limits = read_slot_limits(slot_limits, width)
    return Quota(OwnerScope(scope), owner_id, policy, limits, max_concurrent_sessions)


def _as_parameters(scope: OwnerScope, owner_id: str) -> tuple[list[object], ...]:
    """The one owner as the parameters that the owner statements take: a list of ids for each scope."""
    value: object = UUID(owner_id) if scope in (OwnerScope.USER, OwnerScope.PROJECT) else owner_id
    return tuple([value] if scope is each else [] for each in OwnerScope)


def _occupied(chunks: Sequence[tuple[int, Sequence[int]]], width: int) -> SlotVector:
    """Put the amounts of one owner together; longer than ``width`` only where there is something beyond it."""
    amounts = {
        index: amount
        for first, occupied in chunks
        for index, amount in enumerate(occupied, start=first)
        if amount or index < width
    }
    return tuple(amounts.get(index, 0) for index in range(max(width, *(index + 1 for index in amounts), 0)))
