"""What a tracker holds, compared with a full read: equal, damaged, beside refreshes, without a database."""

import asyncio
import logging
import signal
import subprocess
from collections.abc import Callable, Coroutine
from typing import Optional, Union

import msgspec
import pytest
import uvloop
from prometheus_client import REGISTRY

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession, create_engine
from scheduler_repo.entities.snapshot_changes import FullReadReason
from scheduler_repo.entities.snapshot_comparison import ComparisonOutcome
from scheduler_repo.errors import InvalidInput, InvalidWiring
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.scheduler.tracker import SnapshotTracker
from scheduler_repo.scheduling.deltas.base import IndexedBase
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.snapshot.build import RawSchedulingData
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.signals import called_on_sigusr2
from scheduler_repo.types import ScalingGroupName
from tests.deltas.held_answers import assert_same
from tests.support.databases import DriverConnection
from tests.support.small_cluster import GROUP, agent, cluster, session, session_id
from tests.support.waiting import PATIENCE

EQUAL, DIFFERENT = ComparisonOutcome.EQUAL, ComparisonOutcome.DIFFERENT
NOT_COMPARED, FAILED = ComparisonOutcome.NOT_COMPARED, ComparisonOutcome.FAILED


class HeldUpSource(SchedulerDBSource):
    """A source whose full reads stop before they begin, until they may go on."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        super().__init__(engine)
        self.full_reads = 0
        self.reads_all = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def fetch_raw_scheduling_data(
        self, db_sess: SASession, scaling_group: ScalingGroupName, pending_limit: Optional[int]
    ) -> RawSchedulingData:
        self.full_reads += 1
        self.reads_all.set()
        await self.may_go_on.wait()
        return await super().fetch_raw_scheduling_data(db_sess, scaling_group, pending_limit)


@pytest.fixture
async def source(engine: ExtendedAsyncSAEngine) -> HeldUpSource:
    sessions = [session(number, 1, 2) for number in range(6)]
    load = ClusterRepository(ClusterDBSource(engine)).load_cluster
    await load(cluster([agent("a1"), agent("a2")], sessions))
    return HeldUpSource(engine)


@pytest.fixture
def tracker(source: HeldUpSource) -> SnapshotTracker:
    return SnapshotTracker(source)


def held(tracker: SnapshotTracker) -> IndexedBase:
    return tracker._held[GROUP, None]


def damage(tracker: SnapshotTracker) -> None:
    """Let the tracker hold another priority than the database has, of the session at the end."""
    base = held(tracker)
    *others, last = base.data.pending_sessions
    wrong = msgspec.structs.replace(last, priority=last.priority - 1)
    base.data = msgspec.structs.replace(base.data, pending_sessions=(*others, wrong))


async def raise_priority(connection: DriverConnection, number: int) -> None:
    await connection.execute("UPDATE sessions SET priority = priority + 1 WHERE id = $1", session_id(number))


def count(outcome: ComparisonOutcome, what: str = "snapshot") -> float:
    labels = {"scaling_group": GROUP, "outcome": outcome.value}
    return REGISTRY.get_sample_value(f"scheduler_repo_{what}_comparison_count_total", labels) or 0.0


def plans_from_changes() -> float:
    labels = {"scaling_group": GROUP, "answer": "changes", "reason": ""}
    return REGISTRY.get_sample_value("scheduler_repo_plan_count_total", labels) or 0.0


class TestComparison:
    async def test_of_what_is_right_is_equal_and_changes_nothing(
        self, tracker: SnapshotTracker, source: HeldUpSource, owner_connection: DriverConnection
    ) -> None:
        # given changes that are not applied yet
        before = count(EQUAL)
        first = await tracker.get_scheduling_data(GROUP)
        await raise_priority(owner_connection, 3)
        # when
        comparison = await tracker.compare(GROUP)
        # then
        assert (comparison.outcome, comparison.difference) == (EQUAL, None)
        assert count(EQUAL) == before + 1
        after = await tracker.get_scheduling_data(GROUP)
        assert (after.reason, after.since) == (None, first.data.token)
        assert after.changes is not None
        assert after.changes.sessions == (session_id(3),)

    async def test_of_what_is_wrong_is_logged_counted_and_healed(
        self, tracker: SnapshotTracker, source: HeldUpSource, caplog: pytest.LogCaptureFixture
    ) -> None:
        # given
        before = count(DIFFERENT)
        await tracker.get_scheduling_data(GROUP)
        damage(tracker)
        # when
        comparison = await tracker.compare(GROUP)
        # then
        assert comparison.outcome is DIFFERENT
        assert comparison.difference is not None
        assert (comparison.difference.field, comparison.difference.part) == ("pending_sessions", "priority")
        assert count(DIFFERENT) == before + 1
        (record,) = [each for each in caplog.records if "tracker" in each.name]
        assert record.levelno == logging.ERROR
        assert str(comparison.difference) in record.getMessage()
        # and whoever asks next is told that everything may differ
        healed = await tracker.get_scheduling_data(GROUP)
        assert (healed.reason, healed.changes) == (FullReadReason.DIFFERED, None)
        assert_same(healed.data, (await source.get_scheduling_data(GROUP)).data)
        assert (await tracker.compare(GROUP)).outcome is EQUAL

    async def test_of_an_index_that_does_not_fit_its_data_heals_it_too(
        self, tracker: SnapshotTracker, owner_connection: DriverConnection, caplog: pytest.LogCaptureFixture
    ) -> None:
        # given
        await tracker.get_scheduling_data(GROUP)
        await raise_priority(owner_connection, 3)
        await tracker.get_scheduling_data(GROUP)
        held(tracker).queue = held(tracker).queue.edited((held(tracker).sessions[session_id(3).bytes],), ())
        await raise_priority(owner_connection, 3)
        # when
        comparison = await tracker.compare(GROUP)
        # then
        assert comparison.outcome is FAILED
        assert "LookupError" in caplog.text
        assert (await tracker.get_scheduling_data(GROUP)).reason is FullReadReason.DIFFERED

    async def test_of_nothing_reads_nothing(
        self, tracker: SnapshotTracker, source: HeldUpSource, owner_connection: DriverConnection
    ) -> None:
        before = count(NOT_COMPARED)
        assert (await tracker.compare(GROUP)).outcome is NOT_COMPARED
        await tracker.get_scheduling_data(GROUP)
        reads = source.full_reads
        await owner_connection.execute("INSERT INTO slot_types (name, slot_index) VALUES ('gpu', 2)")
        comparison = await tracker.compare(GROUP)
        assert (comparison.outcome, comparison.reason) == (NOT_COMPARED, FullReadReason.EVERYTHING)
        assert (source.full_reads, count(NOT_COMPARED)) == (reads, before + 2)

    async def test_without_a_database_is_counted_and_logged(
        self, source: HeldUpSource, tracker: SnapshotTracker, caplog: pytest.LogCaptureFixture
    ) -> None:
        # given an engine of another database server, which is not there
        url = SecretUrl("postgresql+asyncpg://nobody:hunter2@127.0.0.1:1/nowhere")
        away = create_engine(DatabaseSettings(url=url))
        before = count(FAILED)
        await tracker.get_scheduling_data(GROUP)
        other = SnapshotTracker(SchedulerDBSource(away))
        other._held[GROUP, None] = held(tracker)
        # when
        comparison = await other.compare(GROUP)
        await away.dispose()
        # then
        assert comparison.outcome is FAILED
        assert count(FAILED) == before + 1
        assert "was not compared" in caplog.text
        assert "hunter2" not in caplog.text
        # and what is held is held on
        assert (await tracker.get_scheduling_data(GROUP)).reason is None

    async def test_of_an_odd_question_is_refused(self, tracker: SnapshotTracker) -> None:
        with pytest.raises(InvalidInput):
            await tracker.compare(GROUP, 0)


class TestBesideRefreshes:
    async def test_these_go_on_while_all_is_read_and_both_see_their_own_instant(
        self, tracker: SnapshotTracker, source: HeldUpSource, owner_connection: DriverConnection
    ) -> None:
        # given a comparison that is about to read everything
        await tracker.get_scheduling_data(GROUP)
        source.reads_all.clear()
        source.may_go_on.clear()
        comparison = asyncio.create_task(tracker.compare(GROUP))
        await source.reads_all.wait()
        # when there are writes, and refreshes that see them
        for number in (1, 2, 2):
            await raise_priority(owner_connection, number)
            refresh = await asyncio.wait_for(tracker.get_scheduling_data(GROUP), PATIENCE)
            assert refresh.reason is None
        assert [each.session_id for each in refresh.data.pending_sessions[:2]] == [session_id(2), session_id(1)]
        source.may_go_on.set()
        # then
        assert (await comparison).outcome is EQUAL
        assert_same(
            (await tracker.get_scheduling_data(GROUP)).data, (await source.get_scheduling_data(GROUP)).data
        )

    async def test_what_is_replaced_before_its_turn_is_left_alone(self, tracker: SnapshotTracker) -> None:
        # given a comparison that waits for its turn
        await tracker.get_scheduling_data(GROUP)
        async with tracker._turn((GROUP, None)):
            comparison = asyncio.create_task(tracker.compare(GROUP))
            await asyncio.sleep(0)
            # when
            tracker.forget()
        # then
        assert (await comparison).outcome is NOT_COMPARED

    async def test_one_comparison_at_a_time(self, tracker: SnapshotTracker, source: HeldUpSource) -> None:
        # given
        await tracker.get_scheduling_data(GROUP)
        reads = source.full_reads
        source.reads_all.clear()
        source.may_go_on.clear()
        first = asyncio.create_task(tracker.compare(GROUP))
        await source.reads_all.wait()
        # when
        others = [asyncio.create_task(tracker.compare(GROUP)) for _ in range(3)]
        await tracker.get_scheduling_data(GROUP)
        # then
        assert source.full_reads == reads + 1
        source.may_go_on.set()
        assert {(await each).outcome for each in (first, *others)} == {EQUAL}

    async def test_a_turn_is_one_turn_however_much_is_forgotten(self, tracker: SnapshotTracker) -> None:
        turn = tracker._turn((GROUP, None))
        await tracker.get_scheduling_data(GROUP)
        tracker.forget()
        assert tracker._turn((GROUP, None)) is turn
        del turn
        assert not tracker._turns


class TestLoop:
    def loop(
        self, tracker: Optional[SnapshotTracker], source: HeldUpSource, every: Optional[int]
    ) -> SchedulerLoop:
        repository, reads_all = SchedulerRepository(source), tracker is None
        return SchedulerLoop(
            repository, BestFitPlanner(), GROUP, tracker=tracker, full_reads=reads_all, compare_every=every
        )

    async def test_compares_every_so_many_ticks(self, tracker: SnapshotTracker, source: HeldUpSource) -> None:
        before = count(EQUAL)
        loop = self.loop(tracker, source, 2)
        for _ in range(5):
            await loop.tick()
            await loop.finish_comparison()
        assert count(EQUAL) == before + 2

    async def test_does_not_wait_for_a_comparison_nor_begin_another_beside_it(
        self, tracker: SnapshotTracker, source: HeldUpSource
    ) -> None:
        # given
        before = count(EQUAL)
        loop = self.loop(tracker, source, 1)
        await tracker.get_scheduling_data(GROUP)
        source.may_go_on.clear()
        # when
        ticks = [await loop.tick() for _ in range(3)]
        # then
        assert len(ticks[0].allocated) == 6
        assert count(EQUAL) == before
        source.may_go_on.set()
        await loop.finish_comparison()
        assert count(EQUAL) == before + 1

    async def test_needs_a_tracker_to_compare(self, tracker: SnapshotTracker, source: HeldUpSource) -> None:
        with pytest.raises(InvalidInput, match="compare_every is 0"):
            self.loop(tracker, source, 0)
        with pytest.raises(InvalidWiring, match="leave full_reads out"):
            self.loop(None, source, 3)
        loop = self.loop(None, source, None)
        with pytest.raises(InvalidWiring), loop.comparing_on_signal():
            pass

    async def test_compares_what_its_own_tracker_holds(self, source: HeldUpSource) -> None:
        before = count(EQUAL)
        loop = SchedulerLoop(SchedulerRepository(source), BestFitPlanner(), GROUP, compare_every=1)
        for _ in range(2):
            await loop.tick()
            await loop.finish_comparison()
        assert count(EQUAL) == before + 2

    async def test_compares_its_plans_too(self, source: HeldUpSource) -> None:
        before = count(EQUAL, "plan"), plans_from_changes()
        loop = SchedulerLoop(SchedulerRepository(source), BestFitPlanner(), GROUP, compare_every=1)
        for _ in range(4):
            await loop.tick()
            await loop.finish_comparison()
        assert (count(EQUAL, "plan"), plans_from_changes()) == (before[0] + 4, before[1] + 2)

    async def test_compares_on_a_signal(self, tracker: SnapshotTracker, source: HeldUpSource) -> None:
        # given
        before = count(EQUAL)
        loop = self.loop(tracker, source, None)
        await loop.tick()
        source.reads_all.clear()
        # when
        with loop.comparing_on_signal():
            signal.raise_signal(signal.SIGUSR2)
            await source.reads_all.wait()
        await loop.finish_comparison()
        # then
        assert count(EQUAL) == before + 1


def send_from_outside() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["/bin/sh", "-c", "kill -USR2 $PPID"])


RUNNERS: tuple[Callable[[Coroutine[None, None, None]], None], ...] = (asyncio.run, uvloop.run)


class TestSignal:
    @pytest.mark.parametrize("run", RUNNERS, ids=["asyncio", "uvloop"])
    def test_calls_every_block_that_runs_and_is_given_back(
        self, run: Callable[[Coroutine[None, None, None]], None]
    ) -> None:
        async def main() -> None:
            first, second = asyncio.Event(), asyncio.Event()
            outer, inner = called_on_sigusr2(first.set), called_on_sigusr2(second.set)
            outer.__enter__()
            inner.__enter__()
            signal.raise_signal(signal.SIGUSR2)
            await asyncio.wait_for(asyncio.gather(first.wait(), second.wait()), PATIENCE)
            # when the first ends first
            outer.__exit__(None, None, None)
            first.clear()
            second.clear()
            signal.raise_signal(signal.SIGUSR2)
            await asyncio.wait_for(second.wait(), PATIENCE)
            assert not first.is_set()
            inner.__exit__(None, None, None)

        def former(*_: Union[object, None]) -> None:
            received.append(True)

        received: list[bool] = []
        kept = signal.signal(signal.SIGUSR2, former)
        try:
            run(main())
            signal.raise_signal(signal.SIGUSR2)
        finally:
            signal.signal(signal.SIGUSR2, kept)
        assert received == [True]

    @pytest.mark.parametrize("run", RUNNERS, ids=["asyncio", "uvloop"])
    def test_wakes_a_loop_that_waits(self, run: Callable[[Coroutine[None, None, None]], None]) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            called_at: asyncio.Future[float] = loop.create_future()
            deadline = loop.time() + PATIENCE
            with called_on_sigusr2(lambda: called_at.set_result(loop.time())):
                # Not by a task of the loop, whose end would wake it.
                sender = send_from_outside()
                # What only the wait's own end wakes is called too late.
                assert await asyncio.wait_for(called_at, 2 * PATIENCE) < deadline
            assert sender.wait(PATIENCE) == 0

        run(main())

    async def test_is_refused_outside_of_the_main_thread(self) -> None:
        async def main() -> None:
            with called_on_sigusr2(lambda: None):
                raise AssertionError("a signal was promised")

        def run() -> None:
            asyncio.run(main())

        with pytest.raises(InvalidWiring, match="main thread"):
            await asyncio.to_thread(run)
