"""A whole cluster and its queue, loaded in one transaction."""

from collections.abc import Callable, Iterator, Sequence
from typing import Optional, TypeVar

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import quoted
from scheduler_repo.repositories.agent.db_source import check_agents, insert_agents
from scheduler_repo.repositories.owner.registering import check_owners, insert_owners
from scheduler_repo.repositories.scaling_group.db_source import (
    check_groups,
    check_slot_types,
    ensure_slot_types,
    insert_scaling_groups,
)
from scheduler_repo.repositories.session.creating import check_sessions, insert_sessions
from scheduler_repo.resilience.layers import BULK_DEADLINE, LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import OperationId

T = TypeVar("T")
# (agents loaded, sessions loaded) so far
Progress = Callable[[int, int], None]
_LOAD_CLUSTER = IdempotentWrite("load_cluster", type(None))
_CHUNK = 2_000
_resilience = layer_resilience(LayerType.CLUSTER_DB_SOURCE, deadline=BULK_DEADLINE)


class ClusterDBSource:
    """Loads clusters."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.WRITE)
    async def load_cluster(
        self, cluster: ClusterSpec, on_progress: Progress, operation_id: Optional[OperationId] = None
    ) -> None:
        """Load a cluster, all or nothing; slot types and owners that exist already are used as they are.

        Raises what ``ClusterRepository.load_cluster`` does. Costs some statements per 2,000 agents or sessions.
        """
        given: object = cluster
        if not isinstance(given, ClusterSpec):
            raise InvalidInput(f"{quoted(given)} is a {type(given).__name__}; give a ClusterSpec")
        check_slot_types(cluster.slot_types)
        check_groups(cluster.scaling_groups)
        check_owners(cluster.owners)
        check_agents(cluster.agents)
        check_sessions(cluster.sessions)

        async def load(write: WriteTransaction) -> None:
            db_sess = write.db_sess
            slot_types = await ensure_slot_types(db_sess, cluster.slot_types)
            slot_names = [slot_type.name for slot_type in slot_types]
            await insert_scaling_groups(db_sess, cluster.scaling_groups)
            await insert_owners(db_sess, cluster.owners, slot_names)
            agents = sessions = 0
            for agent_chunk in _chunks(cluster.agents):
                await insert_agents(db_sess, agent_chunk, slot_names)
                agents += len(agent_chunk)
                on_progress(agents, sessions)
            for session_chunk in _chunks(cluster.sessions):
                await insert_sessions(db_sess, session_chunk, slot_names)
                sessions += len(session_chunk)
                on_progress(agents, sessions)

        await _LOAD_CLUSTER.run(self._engine, load, request=cluster, operation_id=operation_id)


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
