"""What fails in a loop that runs is said once, tried again, and holds up nothing else."""

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Final, Optional, cast
from uuid import UUID

import msgspec
import pytest

from scheduler_repo.connection import Repositories, open_repositories
from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.lifecycle import UndispatchedSession
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.errors import DatabaseUnavailable
from scheduler_repo.loop import dispatching
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.loop.tick import Tick
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import AgentId, KernelId, ScalingGroupName, SessionId
from tests.loop.running import SETTINGS, Running, Telling, running
from tests.support.databases import SCHEDULER, Database
from tests.support.small_cluster import GROUP, OTHER_GROUP, agent, cluster, session, session_id
from tests.support.waiting import until

Plan = Sequence[SessionAllocation]
TIMES: Final = 3


@pytest.fixture
async def repos(migrated_database: Database) -> AsyncIterator[Repositories]:
    """With an agent in each of two groups."""
    async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:
        agents = [agent("a1", cpu=100), agent("b1", cpu=100, scaling_group=OTHER_GROUP)]
        await repos.cluster.load_cluster(cluster(agents, []))
        yield repos


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged as information, and above."""
    caplog.set_level(logging.INFO, "scheduler_repo")
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was logged since this was asked, but for the beginnings and ends of leading."""
    found = [(record.levelname, record.getMessage()) for record in log.records]
    log.clear()
    return found


def raise_error(_: SchedulingData) -> Plan:
    raise ZeroDivisionError("no cores\nat all")


def end_the_process(_: SchedulingData) -> Plan:
    sys.exit(3)


def return_nothing(_: SchedulingData) -> Plan:
    return cast("Plan", None)


def return_texts(_: SchedulingData) -> Plan:
    return cast("Plan", ["a", "b"])


def place_no_session(data: SchedulingData) -> Plan:
    (placed,) = BestFitPlanner().plan(data)
    return [msgspec.structs.replace(placed, session_id=SessionId(UUID(int=7)))]


def place_on_no_agent(data: SchedulingData) -> Plan:
    (placed,) = BestFitPlanner().plan(data)
    kernels = [KernelAllocation(kernel.kernel_id, AgentId("no such agent")) for kernel in placed.kernels]
    return [SessionAllocation(placed.session_id, tuple(kernels))]


def place_other_kernels(data: SchedulingData) -> Plan:
    (placed,) = BestFitPlanner().plan(data)
    return [SessionAllocation(placed.session_id, (KernelAllocation(KernelId(UUID(int=7)), AgentId("a1")),))]


# What a planner does, and what the one line says of it.
ODDITIES: Final = {
    raise_error: "ZeroDivisionError: no cores\\nat all (test_failures.py:",
    end_the_process: "RuntimeError: it raised SystemExit: 3",
    return_nothing: "OddPlanner.plan() returned a NoneType",
    return_texts: "give a SessionAllocation for each",
    place_no_session: f"OddPlanner placed session {UUID(int=7)}, which is not in its data",
    place_on_no_agent: "on agent no such agent, which is not in its data",
    place_other_kernels: "OddPlanner placed other kernels of session",
}


class OddPlanner:
    """Does something odd a few times, and plans well then."""

    def __init__(self) -> None:
        self.left: list[Callable[[SchedulingData], Plan]] = []

    def plan(self, data: SchedulingData) -> Plan:
        """Plan, unless something odd is left to do."""
        if data.pending_sessions and self.left:
            return self.left.pop()(data)
        return BestFitPlanner().plan(data)


async def place(repos: Repositories, run: Running, number: int) -> None:
    """Add a session to a group, and wait until it is placed and the loop waits again."""
    group = run.loop.state.scaling_group
    await repos.sessions.enqueue_sessions([session(number, 1, scaling_group=group)])
    while session_id(number) not in (await run.next_tick()).allocated:
        pass
    while (await run.next_tick()).allocated:
        pass


class TestPlanner:
    async def test_one_that_does_odd_things(self, repos: Repositories, log: pytest.LogCaptureFixture) -> None:
        planner = OddPlanner()
        loop = SchedulerLoop(repos.scheduler, planner, GROUP)
        async with running(repos, loop) as run:
            await run.next_tick()
            lines(log)
            for number, (oddity, said) in enumerate(ODDITIES.items(), start=1):
                # when it does something odd, again and again
                planner.left = [oddity] * TIMES
                await place(repos, run, number)
                # then that is said once, and that it is over, and the session is placed
                (first, message), (second, end) = lines(log)
                assert (first, second) == ("WARNING", "INFO")
                assert message.startswith("the scheduling of scaling group 'gpu' failed, and goes on")
                assert said in message
                assert f"succeeded again, after {TIMES} failures" in end
                assert loop.state.is_ready
            assert not planner.left

    async def test_one_that_hangs(self, repos: Repositories, log: pytest.LogCaptureFixture) -> None:
        # given a planner that does not return
        planner = OddPlanner()
        may_return = threading.Event()

        def hang(data: SchedulingData) -> Plan:
            may_return.wait()
            return place_no_session(data)

        planner.left = [hang]
        await repos.sessions.enqueue_sessions([session(1, 1)])
        loop, other = (
            SchedulerLoop(repos.scheduler, each, group)
            for each, group in ((planner, GROUP), (BestFitPlanner(), OTHER_GROUP))
        )
        settings = msgspec.structs.replace(SETTINGS, plan_timeout=0.01)
        try:
            async with running(repos, loop, settings=settings) as run, running(repos, other) as untouched:
                await until(lambda: loop.state.consecutive_errors > TIMES)
                # then that is said once; the plan that is begun is waited for, and no other is
                (warning,) = [message for level, message in lines(log) if level == "WARNING"]
                assert "OddPlanner has not returned in 0.01 s" in warning
                assert loop.state.last_error is not None
                assert "has still not returned from an earlier plan" in loop.state.last_error
                assert not loop.state.is_ready
                # and the other group is scheduled as ever
                await place(repos, untouched, 2)
                assert other.state.is_ready
                # when it returns, then what it returned is thrown away
                may_return.set()
                while session_id(1) not in (await run.next_tick()).allocated:
                    pass
                assert loop.state.is_ready
        finally:
            may_return.set()

    async def test_a_stop_does_not_wait_for_it(self, repos: Repositories) -> None:
        planner = OddPlanner()
        may_return, began = threading.Event(), asyncio.Event()
        event_loop = asyncio.get_running_loop()

        def hang(_: SchedulingData) -> Plan:
            event_loop.call_soon_threadsafe(began.set)
            may_return.wait()
            return ()

        planner.left = [hang]
        await repos.sessions.enqueue_sessions([session(1, 1)])
        settings = msgspec.structs.replace(SETTINGS, stop_timeout=0.01)
        try:
            async with running(repos, SchedulerLoop(repos.scheduler, planner, GROUP), settings=settings) as run:
                await began.wait()
                run.stop.set()
                await run.end()
        finally:
            may_return.set()


class OddDispatcher(Telling):
    """Answers in odd ways, a few times."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[Callable[[Sequence[UndispatchedSession]], Collection[SessionId]]] = []
        self.hangs: Optional[asyncio.Event] = None

    async def dispatch(self, sessions: Sequence[UndispatchedSession]) -> Collection[SessionId]:
        """Tell, unless something odd is left to do."""
        if self.left:
            self.calls.put_nowait(sessions)
            return self.left.pop()(sessions)
        return await super().dispatch(sessions)


def refuse(_: Sequence[UndispatchedSession]) -> Collection[SessionId]:
    raise ConnectionError("no agent answers")


ODD_ANSWERS: Final[dict[Callable[[Sequence[UndispatchedSession]], Collection[SessionId]], str]] = {
    refuse: "ConnectionError: no agent answers (test_failures.py:",
    lambda _: cast("Collection[SessionId]", None): "dispatch() returned a NoneType, and no collection of ids",
    lambda _: cast("Collection[SessionId]", [["a"]]): "dispatch() returned ['a'], which it was not told of",
    lambda _: [
        SessionId(UUID(int=7))
    ]: "dispatch() returned UUID('00000000-0000-0000-0000-000000000007'), which",
    lambda _: (): "dispatch() has told 0 of 1 sessions",
}


class TestDispatcher:
    async def test_one_that_answers_in_odd_ways(
        self, repos: Repositories, log: pytest.LogCaptureFixture
    ) -> None:
        dispatcher = OddDispatcher()
        loop = SchedulerLoop(repos.scheduler, BestFitPlanner(), GROUP)
        async with running(repos, loop, dispatcher=dispatcher) as run:
            await run.next_tick()
            lines(log)
            for number, (oddity, said) in enumerate(ODD_ANSWERS.items(), start=1):
                # when it does something odd again and again, then the ticks go on
                dispatcher.left = [oddity] * TIMES
                await place(repos, run, number)
                # and the session is told of until it is marked
                await until(lambda: dispatcher.told[session_id(number)] == 1)  # noqa: B023 - it is awaited here
                await until(lambda: not loop.state.dispatch_errors)
                (first, message), (second, end) = lines(log)
                assert (first, second) == ("WARNING", "INFO")
                assert message.startswith("the dispatch of sessions of scaling group 'gpu' failed")
                assert said in message
                assert f"succeeded again, after {TIMES} failures" in end
        assert await repos.lifecycle.list_undispatched_sessions(GROUP) == ()

    async def test_what_could_not_be_listed_is_listed_again(
        self, repos: Repositories, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left = TIMES
        list_sessions = repos.lifecycle.list_undispatched_sessions

        async def fail_first(group: ScalingGroupName) -> tuple[UndispatchedSession, ...]:
            nonlocal left
            left -= 1
            if left >= 0:
                raise DatabaseUnavailable("gone")
            return await list_sessions(group)

        monkeypatch.setattr(repos.lifecycle, "list_undispatched_sessions", fail_first)
        telling = Telling()
        await repos.sessions.enqueue_sessions([session(1, 1)])
        loop = SchedulerLoop(repos.scheduler, BestFitPlanner(), GROUP)
        async with running(repos, loop, dispatcher=telling):
            assert [each.session_id for each in await telling.next_call()] == [session_id(1)]
            assert not loop.state.dispatch_errors

    async def test_one_that_hangs_and_cannot_be_cancelled(
        self, repos: Repositories, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatching, "_CANCEL_SECONDS", 0.01)
        # given a dispatcher that does not return, whatever is done
        may_return = asyncio.Event()

        class Hanging(Telling):
            begun = 0

            async def dispatch(self, sessions: Sequence[UndispatchedSession]) -> Collection[SessionId]:
                self.begun += 1
                while not may_return.is_set():
                    try:
                        await may_return.wait()
                    except asyncio.CancelledError:
                        continue
                return await super().dispatch(sessions)

        hanging = Hanging()
        loop = SchedulerLoop(repos.scheduler, BestFitPlanner(), GROUP)
        async with running(repos, loop, dispatcher=hanging, dispatch_timeout=0.01) as run:
            await place(repos, run, 1)
            await until(lambda: loop.state.dispatch_errors > 2)
            # It is not called again before it has returned.
            assert hanging.begun == 1
            # then the ticks go on
            await place(repos, run, 2)
            (warning,) = [message for level, message in lines(log) if level == "WARNING"]
            assert "Hanging.dispatch() has not returned in 0.01 s" in warning
            # when it returns, then all is told of
            may_return.set()
            await until(lambda: set(hanging.told) == {session_id(1), session_id(2)})
            await until(lambda: not loop.state.dispatch_errors)
        assert await repos.lifecycle.list_undispatched_sessions(GROUP) == ()


class TestCallback:
    async def test_one_that_raises(self, repos: Repositories, log: pytest.LogCaptureFixture) -> None:
        loop = SchedulerLoop(repos.scheduler, BestFitPlanner(), GROUP)
        ticks: list[Tick] = []
        stop = asyncio.Event()

        def fail(tick: Tick) -> None:
            ticks.append(tick)
            raise LookupError("no terminal")

        task = asyncio.create_task(loop.run(stop, settings=SETTINGS, on_tick=fail))
        await until(lambda: bool(ticks))
        await repos.sessions.enqueue_sessions([session(1, 1)])
        await until(lambda: any(tick.allocated for tick in ticks))
        stop.set()
        await task
        assert [message for level, message in lines(log) if level == "WARNING"] == [
            "on_tick of scaling group 'gpu' failed, and goes on being tried: LookupError: no terminal "
            f"(test_failures.py:{fail.__code__.co_firstlineno + 2})"
        ]
