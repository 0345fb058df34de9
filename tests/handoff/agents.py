"""The agents of a test, which know attempts apart, and a dispatcher that tells them what to start."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.allocation import AllocationResult
from scheduler_repo.entities.lifecycle import DispatchResult, SessionAttempt, UndispatchedSession
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import AgentId, KernelId, SessionId
from tests.support.small_cluster import GROUP, place

AGENTS = ("agent-0", "agent-1")
SESSIONS: Final = 12


class Start(NamedTuple):
    """What an agent is told: to start a kernel of one attempt of a session."""

    session_id: SessionId
    retry_count: int
    kernel_id: KernelId
    agent_id: AgentId


def starts_of(attempt: UndispatchedSession) -> list[Start]:
    return [
        Start(attempt.session_id, attempt.retry_count, kernel.kernel_id, kernel.agent_id)
        for kernel in attempt.kernels
    ]


class Agents:
    """They start each kernel of an attempt when they are told the first time, and know it when told again."""

    def __init__(self) -> None:
        """None was told anything."""
        self.told: Counter[Start] = Counter()
        self.started: list[Start] = []

    def tell(self, start: Start) -> None:
        """Tell one of them to start a kernel."""
        if not self.told[start]:
            self.started.append(start)
        self.told[start] += 1


class Dispatcher:
    """One of the processes that may hand sessions to the agents; it remembers which attempts it marked."""

    def __init__(self, engine: ExtendedAsyncSAEngine, agents: Agents) -> None:
        """Take an engine, which others may share, and the agents."""
        self.lifecycle = LifecycleRepository(LifecycleDBSource(engine))
        self.marked: Counter[SessionAttempt] = Counter()
        self._scheduler = SchedulerRepository(SchedulerDBSource(engine))
        self._agents = agents

    async def allocate(self, numbers: Sequence[int]) -> AllocationResult:
        """Place sessions of two kernels, one on each agent."""
        return await self._scheduler.allocate_sessions(GROUP, [place(number, *AGENTS) for number in numbers])

    async def list(self) -> tuple[UndispatchedSession, ...]:
        """What waits for its agents to be told."""
        return await self.lifecycle.list_undispatched_sessions(GROUP)

    async def tell(self, listed: Sequence[UndispatchedSession]) -> None:
        """Tell the agents of each attempt; others may do things between any two."""
        for attempt in listed:
            for start in starts_of(attempt):
                self._agents.tell(start)
                await asyncio.sleep(0)

    async def mark(self, listed: Sequence[UndispatchedSession]) -> DispatchResult:
        """Mark the attempts as they were listed."""
        attempts = {each.session_id: SessionAttempt(each.session_id, each.retry_count) for each in listed}
        result = await self.lifecycle.mark_dispatched(list(attempts.values()))
        self.marked.update(attempts[session_id] for session_id in result.dispatched)
        return result

    async def dispatch(self) -> DispatchResult:
        """List, tell, mark: in this order nothing is lost, whoever is killed between two of them."""
        listed = await self.list()
        await self.tell(listed)
        return await self.mark(listed)
