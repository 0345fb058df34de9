"""Batches of any size cost the same statements, and none of these reads what grows with history."""

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.repositories.lifecycle.db_source import SESSIONS_ON_LOST_AGENTS
from tests.agents.fleet import A1, Fleet
from tests.support.past_and_present import finish_sessions
from tests.support.small_cluster import GROUP, agent, place, session

# The driver asks the server for types on a connection's first batch; so the first of the three is not counted.
BATCHES = (1, 1, 100)
BEGIN_AND_COMMIT = 2
# Registering agents takes three COPYs, which the driver does not log.
UNLOGGED_COPIES = 3


class TestPlans:
    async def test_finished_sessions_are_not_read(self, fleet: Fleet, engine: ExtendedAsyncSAEngine) -> None:
        # given
        await fleet.given([agent(A1)], [session(1, 1)], [place(1, A1)])
        await finish_sessions(fleet.connection, 4_000)
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
