"""Quotas: what each owner may occupy."""

from collections.abc import Sequence
from typing import Final, Optional

from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.entities.quota import EffectiveLimits, Quota, QuotaSpec, QuotaUsage, check_quotas
from scheduler_repo.errors import InvalidFilter, QuotaNotFound
from scheduler_repo.quoting import shortened
from scheduler_repo.repositories.quota.db_source import QuotaDBSource
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.steps import finish_in_slices
from scheduler_repo.types import OperationId, OwnerScope, TransactionId
from scheduler_repo.validation import check_kind, check_limit, check_owner_id

_resilience = layer_resilience(LayerType.QUOTA_REPOSITORY)
_SET_QUOTAS = IdempotentWrite("set_quotas", TransactionId)
_CURSORS: Final = CursorCodec("search_quotas", tuple[OwnerScope, str])


class QuotaRepository(Repository[QuotaDBSource]):
    """Reads and sets the quotas of access keys, users, projects and domains.

    An owner is named by its scope and its id as text: the access key, the user's or project's UUID in lower
    case, or the domain's name. Limits and amounts are by slot index, in each slot's smallest unit; None is no
    limit, and an owner without a quota is not limited. All methods raise InvalidInput for a scope that is no
    OwnerScope or an id that the scope cannot have, before any query, and the errors of the database layer.
    Reads cost two statements, or say their cost.
    """

    source_type = QuotaDBSource

    @_resilience.apply(OperationKind.READ)
    async def get_quota(self, scope: OwnerScope, owner_id: str) -> Quota:
        """Return the quota of one owner as it was set: its policy's name, and its own limits.

        Raises QuotaNotFound for an owner without one, or that does not exist.
        """
        found = await self._find(scope, owner_id)
        if found is None:
            raise QuotaNotFound(
                f"{scope} {shortened(owner_id)} has no quota, and is not limited by one; set_quotas makes one",
                scope=scope,
                owner_id=owner_id,
            )
        return found

    @_resilience.apply(OperationKind.READ)
    async def find_quota(self, scope: OwnerScope, owner_id: str) -> Optional[Quota]:
        """Return the quota of one owner as it was set, or None if it has none."""
        return await self._find(scope, owner_id)

    @_resilience.apply(OperationKind.READ)
    async def list_quotas(
        self, scope: Optional[OwnerScope] = None, limit: int = DEFAULT_PAGE
    ) -> tuple[Quota, ...]:
        """Return the first ``limit`` (1 to 1,000) quotas; raises as ``search_quotas`` does."""
        return (await self._search(scope, limit, None)).items

    @_resilience.apply(OperationKind.READ)
    async def search_quotas(
        self, scope: Optional[OwnerScope] = None, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[Quota]:
        """Return a page of at most ``limit`` (1 to 1,000) quotas, of one scope or of all, by scope and id.

        ``cursor`` is the ``next_cursor`` of the page before. Raises InvalidFilter for a ``scope`` that is none,
        InvalidLimit and InvalidCursor.
        """
        return await self._search(scope, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def get_effective_limits(self, scope: OwnerScope, owner_id: str) -> EffectiveLimits:
        """Return the limits that the scheduler goes by: the least of the owner's policy and its own.

        Raises OwnerNotFound.
        """
        check_owner_id(scope, owner_id)
        return await self._read(self._db_source.fetch_effective_limits, scope, owner_id)

    @_resilience.apply(OperationKind.READ)
    async def get_usage(self, scope: OwnerScope, owner_id: str) -> QuotaUsage:
        """Return what one owner may occupy beside what it occupies in all groups, true of one instant.

        Raises OwnerNotFound. Costs four statements; time grows neither with what runs nor with what waits.
        """
        check_owner_id(scope, owner_id)
        return await self._read(self._db_source.fetch_usage, scope, owner_id)

    @_resilience.apply(OperationKind.WRITE)
    async def set_quotas(
        self, quotas: Sequence[QuotaSpec], *, operation_id: Optional[OperationId] = None
    ) -> Optional[TransactionId]:
        """Make quotas or replace those that exist, all or none; what a spec leaves out is not limited any more.

        Rows are never deleted, as they are what allocations lock: set one without policy and limits to take a
        quota away. Each tick and allocation that begins afterwards goes by the new limits; those under way are
        waited for (the owners', and all for a moment where an owner had no quota yet). What is occupied stays,
        even above a limit. Returns the write's transaction id, which a read from the cache can be asked to have
        seen (``after``); None for no quotas.

        Raises OwnerNotFound, ResourcePolicyNotFound, UnknownSlotType, InvalidQuantity, InvalidInput (an owner
        given twice, a count above 31 bits), OperationMismatch and OutcomeUnknown; nothing was written, save
        after the last. Costs six statements, seven where an owner had no quota yet, whatever the number.
        """
        await finish_in_slices(check_quotas(quotas))
        if not quotas:
            return None

        async def set_quotas(write: WriteTransaction) -> TransactionId:
            await self._db_source.set_quotas(write.db_sess, quotas)
            return write.transaction_id

        return await _SET_QUOTAS.run(self._db, set_quotas, request=quotas, operation_id=operation_id)

    async def _find(self, scope: OwnerScope, owner_id: str) -> Optional[Quota]:
        check_owner_id(scope, owner_id)
        return await self._read(self._db_source.find_quota, scope, owner_id)

    async def _search(self, scope: Optional[OwnerScope], limit: int, cursor: Optional[Cursor]) -> Page[Quota]:
        check_limit(limit)
        if scope is not None:
            check_kind(scope, OwnerScope, "scope", InvalidFilter)
        question = {"scope": scope}
        after = None if cursor is None else _CURSORS.decode(question, cursor)
        found = await self._read(self._db_source.list_quotas, scope, after, limit + 1)
        return _CURSORS.page(question, found, limit, lambda each: (each.scope, each.owner_id))
