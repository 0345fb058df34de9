"""Resource policies: named limits that owners share."""

from collections.abc import Sequence
from typing import Final, Optional

from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.limit_rows import no_such_policy
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.entities.resource_policy import ResourcePolicy, ResourcePolicySpec, check_policies
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.repositories.resource_policy.db_source import ResourcePolicyDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.steps import finish_in_slices
from scheduler_repo.types import OperationId, ResourcePolicyName, TransactionId
from scheduler_repo.validation import check_limit, check_name

_resilience = layer_resilience(LayerType.RESOURCE_POLICY_REPOSITORY)
_SET_RESOURCE_POLICIES = IdempotentWrite("set_resource_policies", TransactionId)
_CURSORS: Final = CursorCodec("search_resource_policies", ResourcePolicyName)


class ResourcePolicyRepository(Repository[ResourcePolicyDBSource]):
    """Reads and sets resource policies.

    Slot limits are by slot index, in each slot's smallest unit; None is no limit. A policy limits the owners
    whose quotas refer to it. Policies are never deleted: set one that nobody needs any more to limit nothing.
    All methods raise InvalidInput for a name that is no text, and the errors of the database layer. Reads cost
    two statements, whatever the page.
    """

    source_type = ResourcePolicyDBSource

    @_resilience.apply(OperationKind.READ)
    async def get_resource_policy(self, name: ResourcePolicyName) -> ResourcePolicy:
        """Return one policy; raises ResourcePolicyNotFound."""
        found = await self._find(name)
        if found is None:
            raise no_such_policy(name)
        return found

    @_resilience.apply(OperationKind.READ)
    async def find_resource_policy(self, name: ResourcePolicyName) -> Optional[ResourcePolicy]:
        """Return one policy, or None if there is none of this name."""
        return await self._find(name)

    @_resilience.apply(OperationKind.READ)
    async def list_resource_policies(self, limit: int = DEFAULT_PAGE) -> tuple[ResourcePolicy, ...]:
        """Return the first ``limit`` (1 to 1,000) policies, by name; raises InvalidLimit."""
        return (await self._search(limit, None)).items

    @_resilience.apply(OperationKind.READ)
    async def search_resource_policies(
        self, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[ResourcePolicy]:
        """Return a page of at most ``limit`` (1 to 1,000) of all policies, by name.

        ``cursor`` is the ``next_cursor`` of the page before. Raises InvalidLimit and InvalidCursor.
        """
        return await self._search(limit, cursor)

    @_resilience.apply(OperationKind.WRITE)
    async def set_resource_policies(
        self, policies: Sequence[ResourcePolicySpec], *, operation_id: Optional[OperationId] = None
    ) -> Optional[TransactionId]:
        """Create policies or replace those that exist, all or none; what a spec leaves out is not limited.

        Each tick and allocation that begins afterwards goes by the new limits, for all owners of the policies;
        allocations under way are waited for. What is occupied stays, even above a limit. Returns the write's
        transaction id, which a read from the cache can be asked to have seen (``after``); None for no policies.

        Raises UnknownSlotType, InvalidQuantity, InvalidInput (a name given twice, a count above 31 bits),
        OperationMismatch and OutcomeUnknown; nothing was written, save after the last. Costs five statements,
        whatever the number; time grows with the quotas that refer to the policies, which are locked.
        """
        await finish_in_slices(check_policies(policies))
        if not policies:
            return None

        async def set_policies(write: WriteTransaction) -> TransactionId:
            await self._db_source.set_policies(write.db_sess, policies)
            return write.transaction_id

        return await _SET_RESOURCE_POLICIES.run(
            self._db, set_policies, request=policies, operation_id=operation_id
        )

    async def _find(self, name: ResourcePolicyName) -> Optional[ResourcePolicy]:
        check_name(name, "resource policy")
        return await self._read(self._db_source.find_policy, name)

    async def _search(self, limit: int, cursor: Optional[Cursor]) -> Page[ResourcePolicy]:
        check_limit(limit)
        after = None if cursor is None else _CURSORS.decode({}, cursor)
        found = await self._read(self._db_source.list_policies, after, limit + 1)
        return _CURSORS.page({}, found, limit, lambda policy: policy.name)
