"""The loop that runs: it ticks when it is woken, hands off, and ends when it is stopped."""

from collections.abc import AsyncIterator

import pytest

from scheduler_repo.connection import Repositories, open_repositories
from scheduler_repo.errors import ScalingGroupNotFound
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.loop.state import LoopPhase
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import ScalingGroupName
from tests.loop.running import Telling, running
from tests.support.databases import SCHEDULER, Database
from tests.support.small_cluster import GROUP, agent, cluster, session, session_id


@pytest.fixture
async def repos(migrated_database: Database) -> AsyncIterator[Repositories]:
    """With an agent of ten cores and no session."""
    async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:
        await repos.cluster.load_cluster(cluster([agent("a1")], []))
        yield repos


def make_loop(repos: Repositories) -> SchedulerLoop:
    return SchedulerLoop(repos.scheduler, BestFitPlanner(), GROUP)


class TestRun:
    async def test_ticks_when_it_is_woken_and_hands_off(self, repos: Repositories) -> None:
        # given a session that was allocated before and not dispatched
        await repos.sessions.enqueue_sessions([session(1, 1)])
        await make_loop(repos).tick()
        telling = Telling()
        loop = make_loop(repos)
        phases = [loop.state.phase]
        async with running(repos, loop, dispatcher=telling) as run:
            # then that is told of first
            assert [each.session_id for each in await telling.next_call()] == [session_id(1)]
            # when another comes
            while (await run.next_tick()).allocated:
                pass
            await repos.sessions.enqueue_sessions([session(2, 1)])
            # then it is allocated and told of
            assert [each.session_id for each in await telling.next_call()] == [session_id(2)]
            phases.append(loop.state.phase)
            assert loop.state.is_ready
        phases.append(loop.state.phase)
        assert phases == [LoopPhase.STARTING, LoopPhase.LEADING, LoopPhase.STOPPED]
        assert await repos.lifecycle.list_undispatched_sessions(GROUP) == ()
        assert telling.told == {session_id(1): 1, session_id(2): 1}

    async def test_a_group_that_does_not_exist_ends_it(self, repos: Repositories) -> None:
        loop = SchedulerLoop(repos.scheduler, BestFitPlanner(), ScalingGroupName("none"))
        async with running(repos, loop) as run:
            with pytest.raises(ScalingGroupNotFound, match="none"):
                await run.end()
        assert loop.state.phase is LoopPhase.STOPPED
