"""The statements that load a whole cluster and its queue: those of its entities, in chunks."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession
from scheduler_repo.entities.cluster import ClusterSpec

# A cluster holds all these entities, so this source uses theirs; no other does.
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.db_source import DBSource
from scheduler_repo.repositories.owner.db_source import OwnerDBSource
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.session.db_source import SessionDBSource

T = TypeVar("T")
# Called with the numbers of agents and sessions loaded so far.
Progress = Callable[[int, int], None]
_CHUNK: Final = 2_000


class ClusterDBSource(DBSource):
    """Loads clusters."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Connect to nothing yet; raises InvalidWiring for what is no engine."""
        super().__init__(engine)
        self._groups = ScalingGroupDBSource(engine)
        self._owners = OwnerDBSource(engine)
        self._agents = AgentDBSource(engine)
        self._sessions = SessionDBSource(engine)

    async def load_cluster(self, db_sess: SASession, cluster: ClusterSpec, on_progress: Progress) -> None:
        """Add all that a cluster holds; costs some statements per 2,000 agents or sessions."""
        slot_types = await self._groups.ensure_slot_types(db_sess, cluster.slot_types)
        slot_names = [slot_type.name for slot_type in slot_types]
        await self._groups.insert_groups(db_sess, cluster.scaling_groups)
        await self._owners.insert_owners(db_sess, cluster.owners, slot_names)
        agents = sessions = 0
        for agent_chunk in _chunks(cluster.agents):
            await self._agents.insert_agents(db_sess, agent_chunk, slot_names)
            agents += len(agent_chunk)
            on_progress(agents, sessions)
        for session_chunk in _chunks(cluster.sessions):
            await self._sessions.insert_sessions(db_sess, session_chunk, slot_names)
            sessions += len(session_chunk)
            on_progress(agents, sessions)


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
