"""Resource policies: named limits that owners share."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, Page
from scheduler_repo.entities.resource_policy import ResourcePolicy, ResourcePolicySpec
from scheduler_repo.repositories.resource_policy.db_source import ResourcePolicyDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import OperationId, ResourcePolicyName, TransactionId

_resilience = layer_resilience(LayerType.RESOURCE_POLICY_REPOSITORY, retries=False)


class ResourcePolicyRepository:
    """Reads and sets resource policies; all methods raise the errors of the database layer too.

    A policy limits the owners whose quotas refer to it. It is never deleted; one that nobody needs any more is
    set to limit nothing.
    """

    def __init__(self, db_source: ResourcePolicyDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.READ)
    async def get_resource_policy(self, name: ResourcePolicyName) -> ResourcePolicy:
        """Return one policy; its slot limits are by slot index, in smallest units, None is no limit.

        Raises ResourcePolicyNotFound, and InvalidInput for a name that is no text. Costs two statements.
        """
        return await self._db_source.get_resource_policy(name)

    @_resilience.apply(OperationKind.READ)
    async def find_resource_policy(self, name: ResourcePolicyName) -> Optional[ResourcePolicy]:
        """Return one policy as ``get_resource_policy`` does, or None if there is none of this name.

        Raises InvalidInput for a name that is no text. Costs two statements.
        """
        return await self._db_source.find_resource_policy(name)

    @_resilience.apply(OperationKind.READ)
    async def list_resource_policies(self, limit: int = DEFAULT_PAGE) -> tuple[ResourcePolicy, ...]:
        """Return the first ``limit`` (1 to 1,000) policies, by name; raises InvalidLimit.

        Costs two statements.
        """
        return (await self._db_source.search_resource_policies(limit)).items

    @_resilience.apply(OperationKind.READ)
    async def search_resource_policies(
        self, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[ResourcePolicy]:
        """Return a page of at most ``limit`` (1 to 1,000) of all policies, by name.

        ``cursor`` is the ``next_cursor`` of the page before. Raises InvalidLimit and InvalidCursor. Costs two
        statements, whatever the page.
        """
        return await self._db_source.search_resource_policies(limit, cursor)

    @_resilience.apply(OperationKind.WRITE)
    async def set_resource_policies(
        self, policies: Sequence[ResourcePolicySpec], operation_id: Optional[OperationId] = None
    ) -> Optional[TransactionId]:
        """Create policies or replace those that exist, all or none; what a spec leaves out is not limited.

        Each tick and allocation that begins afterwards goes by the new limits, for all owners of the
        policies; allocations under way are waited for, so none that commits later goes by the old ones. What
        is occupied already stays, even above a limit. Returns the write's transaction id, which a read from
        the cache can be asked to have seen (``after``); None for no policies.

        Raises UnknownSlotType, InvalidQuantity (negative, a float, above 63 bits), InvalidInput (no spec, a
        name that is no text or is given twice, a count above 31 bits), OperationMismatch and OutcomeUnknown;
        then nothing was written, save after OutcomeUnknown. Costs five statements, whatever the number; time
        grows with the number of quotas that refer to the policies, which are locked.
        """
        return await self._db_source.set_resource_policies(policies, operation_id)
