"""Batches of any size cost the same statements, and none of these reads what grows with history."""

from collections.abc import Awaitable, Callable

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.entities.lifecycle import LostSessionAction
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lifecycle.db_source import SESSIONS_ON_LOST_AGENTS
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import AgentId
from tests.agents.fleet import A1, MINUTE, Fleet, report
from tests.support.past_and_present import finish_sessions
from tests.support.small_cluster import GROUP, agent, place, session, session_id

# The driver asks the server for types on a connection's first batch; so the first of the three is not counted.
BATCHES = (1, 1, 100)
BEGIN_AND_COMMIT = 2
# Registering agents takes three COPYs, which the driver does not log.
UNLOGGED_COPIES = 3


class TestStatements:
    @pytest.fixture
    async def count(self, engine: ExtendedAsyncSAEngine) -> Callable[[Awaitable[object]], Awaitable[int]]:
        """How many statements a call sends, without BEGIN and COMMIT."""

        async def counted(call: Awaitable[object]) -> int:
            queries: list[str] = []
            async with engine.begin_readonly_session() as db_sess:
                driver = driver_connection(db_sess)
            with driver.query_logger(lambda record: queries.append(record.query)):
                await call
            return len(queries) - BEGIN_AND_COMMIT

        return counted

    async def test_number_is_the_same_for_one_and_for_a_hundred(
        self,
        fleet: Fleet,
        agents: AgentRepository,
        repository: LifecycleRepository,
        scheduler: SchedulerRepository,
        count: Callable[[Awaitable[object]], Awaitable[int]],
    ) -> None:
        # given an agent with a session that runs, and one with a session that ends, per number
        await fleet.given([], [session(number, 1) for number in range(2 * sum(BATCHES))])
        counts: list[list[int]] = []
        first = 0
        for size in BATCHES:
            numbers = range(first, first + 2 * size)
            names = [AgentId(f"agent-{number}") for number in numbers]
            first += 2 * size
            # when
            registered = await count(agents.register_agents([agent(name) for name in names]))
            await scheduler.allocate_sessions(
                GROUP, [place(number, name) for number, name in zip(numbers, names, strict=True)]
            )
            await repository.mark_terminating([session_id(number) for number in numbers[::2]])
            counts.append(
                [
                    registered,
                    await count(agents.record_heartbeats(names)),
                    await count(agents.drain_agents(names)),
                    await count(agents.resume_agents(names)),
                    await count(agents.terminate_agents(names)),
                    await count(agents.return_agents([report(name) for name in names])),
                ]
            )
            await fleet.set_silent(*names)
            counts[-1] += [
                await count(agents.mark_lost_agents(GROUP, MINUTE)),
                await count(repository.recover_lost_sessions(GROUP, LostSessionAction.REQUEUE)),
            ]
            # then
            assert {await fleet.status(name) for name in names} == {("LOST", "ALIVE")}
        assert counts[1] == counts[2] == [6 - UNLOGGED_COPIES, 1, 7, 7, 7, 9, 5, 24]


class TestPlans:
    async def test_finished_sessions_are_not_read(self, fleet: Fleet, engine: ExtendedAsyncSAEngine) -> None:
        # given
        await fleet.given([agent(A1)], [session(1, 1)], [place(1, A1)])
        await finish_sessions(fleet.connection, 20_000)
        await fleet.connection.execute("ANALYZE")
        async with engine.begin_readonly_session() as db_sess:
            driver = driver_connection(db_sess)
            for mode in ("force_custom_plan", "force_generic_plan"):
                await driver.execute(f"SET LOCAL plan_cache_mode = {mode}")
                await driver.execute(f"PREPARE planned AS {SESSIONS_ON_LOST_AGENTS.text}")
                # when
                plan = await driver.fetch(f"EXPLAIN EXECUTE planned ('{GROUP}', 1000)")
                await driver.execute("DEALLOCATE planned")
                # then
                lines = "\n".join(row[0] for row in plan)
                assert "kernels_occupying_idx" in lines, mode
                assert "Seq Scan on kernels" not in lines, mode
