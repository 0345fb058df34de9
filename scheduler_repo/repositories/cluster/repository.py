"""A whole cluster and its queue."""

from typing import Optional

from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource, Progress
from scheduler_repo.resilience.layers import BULK_DEADLINE, LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import OperationId


def _silent(agents: int, sessions: int) -> None:
    """Tell nobody."""


_resilience = layer_resilience(LayerType.CLUSTER_REPOSITORY, deadline=BULK_DEADLINE, retries=False)


class ClusterRepository:
    """Loads clusters, for demonstrations, benchmarks and moves from another scheduler."""

    def __init__(self, db_source: ClusterDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.WRITE)
    async def load_cluster(
        self,
        cluster: ClusterSpec,
        on_progress: Progress = _silent,
        operation_id: Optional[OperationId] = None,
    ) -> None:
        """Load a cluster in one transaction, all or nothing.

        Slot types, owners, policies and quotas that exist already are used as they are; groups, agents and
        sessions must be new. ``on_progress`` is called with the number of agents and sessions loaded so far.
        Raises ScalingGroupAlreadyExists, AgentAlreadyExists, SessionAlreadyExists, OwnerAlreadyExists (of
        another name, domain or user), AlreadyExists, OwnerNotFound, ResourcePolicyNotFound, InvalidQuantity,
        UnknownSlotType, InvalidInput, OperationMismatch and OutcomeUnknown. Costs some statements per 2,000
        agents or sessions.
        """
        await self._db_source.load_cluster(cluster, on_progress, operation_id)
