"""A whole cluster and its queue."""

from typing import Optional

from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.owner import check_owners

# A cluster holds all these entities, so it is checked as they are.
from scheduler_repo.repositories.agent.repository import check_agents
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource, Progress
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.repositories.scaling_group.repository import check_groups, check_slot_types
from scheduler_repo.resilience.layers import BULK_DEADLINE, LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.admission.creation import check_sessions
from scheduler_repo.steps import finish_in_slices
from scheduler_repo.types import OperationId
from scheduler_repo.validation import check_kind

_resilience = layer_resilience(LayerType.CLUSTER_REPOSITORY, deadline=BULK_DEADLINE)
_LOAD_CLUSTER = IdempotentWrite("load_cluster", type(None))


class ClusterRepository(Repository[ClusterDBSource]):
    """Loads clusters, for demonstrations, benchmarks and moves from another scheduler."""

    source_type = ClusterDBSource

    @_resilience.apply(OperationKind.WRITE)
    async def load_cluster(
        self,
        cluster: ClusterSpec,
        on_progress: Progress = lambda agents, sessions: None,
        *,
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
        check_kind(cluster, ClusterSpec, "cluster")
        check_slot_types(cluster.slot_types)
        await finish_in_slices(check_groups(cluster.scaling_groups))
        await finish_in_slices(check_owners(cluster.owners))
        await finish_in_slices(check_agents(cluster.agents))
        await finish_in_slices(check_sessions(cluster.sessions))

        async def load(write: WriteTransaction) -> None:
            await self._db_source.load_cluster(write.db_sess, cluster, on_progress)

        await _LOAD_CLUSTER.run(self._db, load, request=cluster, operation_id=operation_id)
