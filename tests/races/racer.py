"""One of the eight: a process that reads, plans at random, writes, and lives through what happens to a cluster.

It prints, as one JSON line, what it was told.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from time import monotonic, time

import msgspec

from scheduler_repo.database import locked_state
from scheduler_repo.database.engine import create_engine
from scheduler_repo.database.locks import LOCK_QUOTAS
from scheduler_repo.database.statements import Statement
from scheduler_repo.entities.agent import AgentReport
from scheduler_repo.entities.allocation import KernelAllocation, RejectedAllocation, SessionAllocation
from scheduler_repo.entities.lifecycle import LostSessionAction, SessionEnd, SessionRetry, SessionStart
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import AgentId, ScalingGroupName, SessionId, SessionResult
from tests.races.arena import AGENTS, CAPACITY, GROUPS, new_session

AGENT_TIMEOUT = timedelta(seconds=1)
SILENT_SECONDS = 3


class Outcome(msgspec.Struct):
    """What one racer was told; ``rejected`` are samples, ``codes`` counts all."""

    allocated: list[SessionId] = []
    codes: dict[str, int] = {}
    rejected: list[RejectedAllocation] = []
    changes: dict[str, int] = {}


class Racer:
    def __init__(self, url: str, seed: int) -> None:
        self._rng = Random(f"racer {seed}")  # noqa: S311 - a workload, not a secret
        self.engine = create_engine(DatabaseSettings(url=SecretUrl(url), pool_size=2, lock_timeout=30.0))
        self._scheduler = SchedulerRepository(SchedulerDBSource(self.engine))
        self._lifecycle = LifecycleRepository(LifecycleDBSource(self.engine))
        self._agents = AgentRepository(AgentDBSource(self.engine))
        self._sessions = SessionRepository(SessionDBSource(self.engine))
        self._placed: list[SessionId] = []
        self._codes: Counter[str] = Counter()
        self._changes: Counter[str] = Counter()
        self.outcome = Outcome(codes=self._codes, changes=self._changes)

    async def turn(self) -> None:
        """Read, plan and write once; then let something happen."""
        group = self._rng.choice(GROUPS)
        data = await self._scheduler.get_scheduling_data(group)
        batch = self._plan(data)
        result = await self._scheduler.allocate_sessions(group, batch)
        told = [*result.allocated, *(rejected.session_id for rejected in result.rejected)]
        assert Counter(told) == Counter(allocation.session_id for allocation in batch)
        self.outcome.allocated.extend(result.allocated)
        self._codes.update(rejected.code for rejected in result.rejected)
        self.outcome.rejected.extend(result.rejected[:5])
        self._placed.extend(result.allocated)
        happening = self._rng.choice(
            (
                self._start,
                self._end,
                self._end,
                self._requeue,
                self._requeue,
                self._beat,
                self._beat,
                self._lose,
            )
        )
        await happening(group)

    def _plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        if self._rng.random() < 0.3:
            return BestFitPlanner().plan(data)[:60]
        sessions = list(data.pending_sessions)
        self._rng.shuffle(sessions)
        agents = [agent.agent_id for agent in data.agents]
        return [self._anywhere(session, agents) for session in sessions[:60]] if agents else []

    def _anywhere(self, session: PendingSession, agents: list[AgentId]) -> SessionAllocation:
        return SessionAllocation(
            session.session_id,
            tuple(KernelAllocation(kernel.kernel_id, self._rng.choice(agents)) for kernel in session.kernels),
        )

    def _some(self, count: int) -> list[SessionId]:
        """Sessions of this racer's own, in random order; another may have ended them."""
        self._rng.shuffle(self._placed)
        taken, self._placed = self._placed[:count], self._placed[count:]
        return taken

    async def _start(self, _group: ScalingGroupName) -> None:
        some = self._some(20)
        await self._lifecycle.mark_preparing(some)
        result = await self._lifecycle.mark_running([SessionStart(session_id) for session_id in some])
        self._changes["running"] += len(result.changed)
        self._placed.extend(some)

    async def _end(self, _group: ScalingGroupName) -> None:
        ends = [SessionEnd(session_id, SessionResult.SUCCESS) for session_id in self._some(20)]
        result = await self._lifecycle.mark_terminated(ends)
        self._changes["terminated"] += len(result.changed)
        # As many again, so that the queue stays as long.
        await self._sessions.enqueue_sessions([new_session(self._rng) for _ in result.changed])

    async def _requeue(self, _group: ScalingGroupName) -> None:
        retries = [SessionRetry(session_id) for session_id in self._some(20)]
        result = await self._lifecycle.requeue_sessions(retries, "raced")
        self._changes["requeued"] += len(result.changed)

    async def _beat(self, _group: ScalingGroupName) -> None:
        agents = [agent_id for group in GROUPS for agent_id in AGENTS[group]]
        # A tenth of them, the same for all racers, is silent for some seconds, then another.
        silent = int(time() / SILENT_SECONDS) % 10
        speaking = [agent_id for number, agent_id in enumerate(agents) if number % 10 != silent]
        heard = self._rng.sample(speaking, self._rng.randint(30, len(speaking)))
        result = await self._agents.record_heartbeats(heard)
        back = [AgentReport(agent_id, CAPACITY, max_containers=10) for agent_id in result.returning]
        returned = await self._agents.return_agents(back)
        self._changes["returned"] += len(returned.returned)

    async def _lose(self, group: ScalingGroupName) -> None:
        lost = await self._agents.mark_lost_agents(group, AGENT_TIMEOUT)
        self._changes["lost"] += len(lost.changed)
        recovered = await self._lifecycle.recover_lost_sessions(group, LostSessionAction.REQUEUE, 1_000)
        self._changes["recovered"] += len(recovered.requeued)


async def race(url: str, seed: int, seconds: float) -> Outcome:
    """Take turns for some time."""
    racer = Racer(url, seed)
    until = monotonic() + seconds
    while monotonic() < until:
        await racer.turn()
    await racer.engine.dispose()
    return racer.outcome


def main(url: str, seed: str, seconds: str, *options: str) -> None:
    """Race; the only option is ``--no-owner-locks``."""
    if "--no-owner-locks" in options:
        without = LOCK_QUOTAS.text.replace("FOR NO KEY UPDATE", "")
        assert without != LOCK_QUOTAS.text
        setattr(locked_state, "LOCK_QUOTAS", Statement("lock_quotas", without))  # noqa: B010 - not exported
    outcome = asyncio.run(race(url, int(seed), float(seconds)))
    print(msgspec.json.encode(outcome).decode())
