"""A cluster in which every public method can be asked about as many entities as a test likes."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Final, Optional

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.lifecycle import SessionStart
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.types import AgentId, SessionId
from tests.support.small_cluster import GROUP, agent, cluster, place, session, session_id

# The first agent; it has room for all that a test places.
LARGE: Final = "agent-0"


class World:
    """Sessions and agents, made afresh for each call that is looked at."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine on a migrated database; see ``settle``."""
        self.engine = engine
        self._sessions = SessionRepository(SessionDBSource(engine))
        self._scheduler = SchedulerRepository(SchedulerDBSource(engine))
        self._lifecycle = LifecycleRepository(LifecycleDBSource(engine))
        self._agents = AgentRepository(AgentDBSource(engine))
        self._numbers = count()
        self._agent_numbers = count(1)

    async def settle(self) -> None:
        """Load the groups, the one owner and a first agent with plenty of room."""
        first = agent(LARGE, cpu=1_000_000, mem=1_000_000)
        await ClusterRepository(ClusterDBSource(self.engine)).load_cluster(cluster([first], []))

    def numbers(self, size: int) -> tuple[int, ...]:
        """Numbers of sessions that nobody has used."""
        return tuple(next(self._numbers) for _ in range(size))

    def agent_ids(self, size: int) -> tuple[AgentId, ...]:
        """Ids of agents that nobody has used."""
        return tuple(AgentId(f"agent-{next(self._agent_numbers)}") for _ in range(size))

    async def registered(self, size: int) -> tuple[AgentId, ...]:
        """Register so many agents that are alive and empty."""
        agent_ids = self.agent_ids(size)
        await self._agents.register_agents([agent(agent_id) for agent_id in agent_ids])
        return agent_ids

    async def pending(self, size: int) -> tuple[int, ...]:
        """Enqueue so many sessions of one kernel."""
        numbers = self.numbers(size)
        await self._sessions.enqueue_sessions([session(number, 1) for number in numbers])
        return numbers

    async def scheduled(self, size: int, agent_ids: Sequence[AgentId] = ()) -> tuple[SessionId, ...]:
        """Place so many sessions, on the large agent or on these in turn."""
        numbers = await self.pending(size)
        places = agent_ids or (AgentId(LARGE),)
        allocations: list[SessionAllocation] = [
            place(number, places[position % len(places)]) for position, number in enumerate(numbers)
        ]
        result = await self._scheduler.allocate_sessions(GROUP, allocations)
        assert len(result.allocated) == size
        return tuple(session_id(number) for number in numbers)

    async def running(self, size: int, agent_ids: Sequence[AgentId] = ()) -> tuple[SessionId, ...]:
        """Have so many sessions run."""
        session_ids = await self.scheduled(size, agent_ids)
        await self._lifecycle.mark_preparing(session_ids)
        result = await self._lifecycle.mark_running([SessionStart(session_id) for session_id in session_ids])
        assert len(result.changed) == size
        return session_ids

    async def allow_pending_for(self, longest: timedelta) -> None:
        """Have the group allow its sessions to wait for so long."""
        await self._execute("UPDATE scaling_groups SET pending_timeout = $1 WHERE name = $2", longest, GROUP)

    async def lose(self, agent_ids: Sequence[AgentId]) -> None:
        """Mark agents as lost."""
        await self._execute("UPDATE agents SET status = 'LOST' WHERE id = ANY($1)", list(agent_ids))

    async def _execute(self, statement: str, *parameters: object) -> None:
        async with self.engine.begin_session() as db_sess:
            await driver_connection(db_sess).execute(statement, *parameters)

    async def recover(self) -> None:
        """Undo what a call before did to all: the large agent takes kernels, sessions may wait for ever."""
        await self._execute("UPDATE agents SET status = 'ALIVE' WHERE id = $1", LARGE)
        await self._execute("UPDATE scaling_groups SET pending_timeout = NULL")

    async def preempt_in_scope(self, scope: Optional[str]) -> None:
        """Set whose sessions may be preempted in the group."""
        await self._execute("UPDATE scaling_groups SET preemption_scope = $1 WHERE name = $2", scope, GROUP)

    async def drift(self, agent_ids: Sequence[AgentId]) -> None:
        """Have agents' counters say that something occupies them."""
        await self._execute("UPDATE agent_slots SET occupied = 1 WHERE agent_id = ANY($1)", list(agent_ids))
        await self._execute("UPDATE agents SET container_count = 1 WHERE id = ANY($1)", list(agent_ids))
