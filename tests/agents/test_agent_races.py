"""Heartbeats, losses, returns, drains and placements at once: no deadlock, and nothing is lost but agents."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from random import Random

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.lifecycle import LostSessionAction
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import AgentId
from tests.agents.fleet import Fleet, report
from tests.support.databases import OWNER, SCHEDULER, Database
from tests.support.small_cluster import GROUP, agent, place, session

RACERS = 4
OTHERS = 6
ROUNDS = 30
# The race goes on until all of it has happened.
MOST_ROUNDS = 3_000
NAMES = tuple(AgentId(f"agent-{number:02}") for number in range(40))
SESSIONS = 80
NO_TIME = timedelta(microseconds=1)
SOON = timedelta(milliseconds=3)

ON_LOST_AGENTS = """
SELECT count(*) FROM kernels AS k JOIN agents AS a ON a.id = k.agent_id
WHERE a.status = 'LOST' AND k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
"""
# Counters of agents that differ from what their kernels hold.
DRIFTED = """
SELECT count(*) FROM agents AS a
JOIN agent_slots AS s ON s.agent_id = a.id AND s.slot_name = 'cpu'
CROSS JOIN LATERAL (
    SELECT count(*) AS containers, coalesce(sum(occupied_slots[1]), 0) AS cpu FROM kernels
    WHERE agent_id = a.id AND status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
) AS held
WHERE a.container_count <> held.containers OR s.occupied <> held.cpu
"""
# Agents whose history is no chain that ends at their status.
BROKEN_HISTORIES = """
SELECT count(*) FROM (
    SELECT h.from_status IS NOT DISTINCT FROM lag(h.to_status) OVER of_agent
           AND (lead(h.id) OVER of_agent IS NOT NULL OR h.to_status = a.status) AS holds
    FROM agent_history AS h JOIN agents AS a ON a.id = h.agent_id
    WINDOW of_agent AS (PARTITION BY h.agent_id ORDER BY h.id)
) AS links
WHERE NOT holds
"""


class Seen(msgspec.Struct):
    """How much of each there was."""

    heard: int = 0
    too_old: int = 0
    lost: int = 0
    returned: int = 0
    drained: int = 0
    placed: int = 0
    recovered: int = 0

    @property
    def is_complete(self) -> bool:
        return min(self.lost, self.returned, self.drained, self.placed, self.recovered) > 0


@pytest.fixture
async def engine(migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """An engine with a connection for each of those that race."""
    url = SecretUrl(migrated_database.url_as(SCHEDULER))
    made = create_engine(DatabaseSettings(url=url, pool_size=RACERS + OTHERS))
    yield made
    await made.dispose()


class TestRaces:
    async def test_no_deadlock_and_no_lost_heartbeat(
        self,
        fleet: Fleet,
        agents: AgentRepository,
        repository: LifecycleRepository,
        scheduler: SchedulerRepository,
        migrated_database: Database,
    ) -> None:
        # given
        rng = Random(11)  # noqa: S311 - a workload, not a secret
        sessions = [session(number, *[1] * (1 + number % 3)) for number in range(SESSIONS)]
        await fleet.given(map(agent, NAMES), sessions)
        seen = Seen()
        racing = RACERS

        def some(count: int) -> list[AgentId]:
            return rng.sample(NAMES, count)

        async def heartbeats() -> None:
            nonlocal racing
            async with migrated_database.driver_as(OWNER) as connection:
                for number in range(MOST_ROUNDS):
                    if number >= ROUNDS and seen.is_complete:
                        break
                    names = some(len(NAMES))
                    before = await connection.fetchval("SELECT clock_timestamp()")
                    result = await agents.record_heartbeats(names)
                    assert result.recorded == tuple(names)
                    seen.heard += 1
                    seen.too_old += await connection.fetchval(
                        "SELECT count(*) FROM agent_heartbeats WHERE heartbeat_at < $1", before
                    )
            racing -= 1

        async def meanwhile(work: Callable[[], Awaitable[None]]) -> None:
            while racing:
                await work()

        async def lose() -> None:
            seen.lost += len((await agents.mark_lost_agents(GROUP, SOON)).changed)

        async def bring_back() -> None:
            reports = [report(name, cpu=rng.choice((1, 10))) for name in some(20)]
            seen.returned += len((await agents.return_agents(reports)).returned)

        async def drain_and_resume() -> None:
            seen.drained += len((await agents.drain_agents(some(10))).changed)
            await agents.resume_agents(some(30))

        async def allocate() -> None:
            numbers = rng.sample(range(SESSIONS), 20)
            batch = [place(number, *rng.choices(NAMES, k=1 + number % 3)) for number in numbers]
            seen.placed += len((await scheduler.allocate_sessions(GROUP, batch)).allocated)

        async def recover() -> None:
            result = await repository.recover_lost_sessions(GROUP, LostSessionAction.REQUEUE, limit=20)
            seen.recovered += len(result.requeued)

        # when
        async with asyncio.TaskGroup() as group:
            for _ in range(RACERS):
                group.create_task(heartbeats())
            others = (lose, bring_back, drain_and_resume, allocate, allocate, recover)
            assert len(others) == OTHERS
            for work in others:
                group.create_task(meanwhile(work))
        # then
        assert seen.too_old == 0
        assert seen.is_complete, seen
        assert await fleet.connection.fetchval(DRIFTED) == 0
        assert await fleet.connection.fetchval(BROKEN_HISTORIES) == 0
        # when all of them are lost
        await agents.mark_lost_agents(GROUP, NO_TIME)
        await repository.recover_lost_sessions(GROUP, LostSessionAction.REQUEUE)
        # then
        assert await fleet.connection.fetchval(ON_LOST_AGENTS) == 0
        assert await fleet.connection.fetchval(DRIFTED) == 0
        assert await fleet.connection.fetchval("SELECT count(*) FROM agents WHERE status <> 'LOST'") == 0
        assert await fleet.connection.fetchval("SELECT count(*) FROM sessions WHERE status <> 'PENDING'") == 0
