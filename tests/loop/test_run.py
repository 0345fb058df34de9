"""The loop that runs: it ticks when it is woken, hands off, and ends when it is stopped."""

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import timedelta
from typing import cast

import pytest

from scheduler_repo.connection import Repositories, open_repositories
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.lifecycle import UndispatchedSession
from scheduler_repo.errors import InvalidInput, InvalidWiring, ScalingGroupNotFound
from scheduler_repo.leadership import LeaseKeeper
from scheduler_repo.loop.dispatching import Dispatcher, HandOff
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.loop.state import LoopPhase
from scheduler_repo.loop.sweeping import Sweeper
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import LeaseHolder, ScalingGroupName, SessionId
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


class Blocking:
    def dispatch(self, _: Sequence[UndispatchedSession]) -> Collection[SessionId]:
        return ()


class Forgetful:
    async def dispatch(self) -> Collection[SessionId]:
        return ()


class TestWiring:
    async def test_of_a_run(self, repos: Repositories) -> None:
        loop = make_loop(repos)
        stop = asyncio.Event()
        wrong: object = repos
        for part in ("settings", "sweeper", "hand_off"):
            with pytest.raises(InvalidWiring, match=f"{part} is a Repositories"):
                await loop.run(stop, **{part: wrong})  # type: ignore[arg-type] # it is what is tested
        with pytest.raises(InvalidWiring, match="stop is a Repositories, it must be an Event"):
            await loop.run(wrong)  # type: ignore[arg-type] # it is what is tested
        async with running(repos, loop) as run:
            await run.next_tick()
            with pytest.raises(InvalidInput, match="'gpu' runs already"):
                await loop.run(stop)

    @pytest.mark.parametrize(
        ("dispatcher", "found"),
        [
            (Telling, "dispatcher is the class Telling; give an object, Telling()"),
            (None, "dispatcher is a NoneType without a method dispatch"),
            (
                Blocking(),
                "dispatcher is a Blocking whose dispatch() is no coroutine function; write: async def",
            ),
            (Forgetful(), "Forgetful.dispatch() must take the sessions alone"),
        ],
    )
    def test_of_a_dispatcher(self, engine: ExtendedAsyncSAEngine, dispatcher: object, found: str) -> None:
        lifecycle = LifecycleRepository(LifecycleDBSource(engine))
        with pytest.raises(InvalidWiring, match=re.escape(found)):
            HandOff(lifecycle, cast("Dispatcher", dispatcher))

    async def test_of_sweeps(self, repos: Repositories) -> None:
        wrong: object = repos.sessions
        for part in ("agents", "lifecycle", "audit", "sweeps"):
            with pytest.raises(InvalidWiring, match=f"{part} is a SessionRepository"):
                Sweeper(repos.scheduler, **{part: wrong})  # type: ignore[arg-type] # it is what is tested


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

    async def test_a_lease_shorter_than_it_may_be_ends_it(self, repos: Repositories) -> None:
        keeper = LeaseKeeper(repos.leases, GROUP, LeaseHolder("short"), ttl=timedelta(seconds=1))
        loop = SchedulerLoop(repos.scheduler, BestFitPlanner(), GROUP, lease_keeper=keeper)
        async with running(repos, loop) as run:
            with pytest.raises(InvalidWiring, match="ttl"):
                await run.end()

    async def test_a_group_that_does_not_exist_ends_it(self, repos: Repositories) -> None:
        loop = SchedulerLoop(repos.scheduler, BestFitPlanner(), ScalingGroupName("none"))
        async with running(repos, loop) as run:
            with pytest.raises(ScalingGroupNotFound, match="none"):
                await run.end()
        assert loop.state.phase is LoopPhase.STOPPED
