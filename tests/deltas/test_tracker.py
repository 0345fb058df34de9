"""What a tracker answers, from what, and what it holds."""

import asyncio
from datetime import timedelta
from random import Random
from typing import Union

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import FullReadReason
from scheduler_repo.errors import InvalidInput, InvalidWiring, ScalingGroupNotFound
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler import changes
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.scheduler.tracker import SnapshotTracker
from scheduler_repo.scheduling.deltas.apply import Applied, apply_changes
from scheduler_repo.scheduling.deltas.base import IndexedBase
from scheduler_repo.scheduling.deltas.rows import RawChanges
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import ScalingGroupName
from tests.deltas.held_answers import assert_same
from tests.deltas.odd_writes import trim
from tests.support.databases import DriverConnection
from tests.support.small_cluster import GROUP, OTHER_GROUP, agent, cluster, session, session_id

SHARED = (
    "slot_types",
    "pending_sessions",
    "agents",
    "reservations",
    "preemption_candidates",
    "users",
    "domains",
)


class HeldUpSource(SchedulerDBSource):
    """A source whose refreshes stop when they have read, until they may go on."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        super().__init__(engine)
        self.refreshes = 0
        self.has_read = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def get_changes(self, base: IndexedBase) -> Union[RawChanges, FullReadReason]:
        self.refreshes += 1
        raw = await super().get_changes(base)
        self.has_read.set()
        await self.may_go_on.wait()
        return raw


@pytest.fixture
async def source(engine: ExtendedAsyncSAEngine) -> HeldUpSource:
    sessions = [session(number, 1, 2) for number in range(6)]
    load = ClusterRepository(ClusterDBSource(engine)).load_cluster
    await load(cluster([agent("a1"), agent("a2")], sessions))
    return HeldUpSource(engine)


@pytest.fixture
def tracker(source: HeldUpSource) -> SnapshotTracker:
    return SnapshotTracker(source)


async def raise_priority(connection: DriverConnection, number: int) -> None:
    await connection.execute("UPDATE sessions SET priority = priority + 1 WHERE id = $1", session_id(number))


async def full(source: SchedulerDBSource) -> SchedulingData:
    return (await source.get_scheduling_data(GROUP)).data


def count(answer: str, reason: str = "") -> float:
    labels = {"scaling_group": GROUP, "answer": answer, "reason": reason}
    return REGISTRY.get_sample_value("scheduler_repo_snapshot_refresh_count_total", labels) or 0.0


class TestAnswers:
    async def test_are_a_full_read_first_and_then_what_has_changed(
        self, tracker: SnapshotTracker, source: HeldUpSource, owner_connection: DriverConnection
    ) -> None:
        # given
        before = count("full", "first"), count("changes")
        first = await tracker.get_scheduling_data(GROUP)
        # when
        await raise_priority(owner_connection, 3)
        second = await tracker.get_scheduling_data(GROUP)
        # then
        assert (first.reason, first.changes, first.since) == (FullReadReason.FIRST, None, None)
        assert second.changes is not None
        assert (second.reason, second.since) == (None, first.data.token)
        assert second.changes.sessions == (session_id(3),)
        assert (second.changes.agents, second.changes.owners) == ((), ())
        assert second.data.pending_sessions[0].session_id == session_id(3)
        assert_same(second.data, await full(source))
        assert (count("full", "first"), count("changes")) == (before[0] + 1, before[1] + 1)

    async def test_of_a_cluster_that_rests_are_the_same_objects(self, tracker: SnapshotTracker) -> None:
        before = count("unchanged")
        first, second = [(await tracker.get_scheduling_data(GROUP)) for _ in range(2)]
        assert (second.reason, bool(second.changes)) == (None, False)
        for field in SHARED:
            assert getattr(first.data, field) is getattr(second.data, field)
        assert second.data.observed_at > first.data.observed_at
        assert count("unchanged") == before + 1

    async def test_share_what_has_not_changed(
        self, tracker: SnapshotTracker, owner_connection: DriverConnection
    ) -> None:
        first = (await tracker.get_scheduling_data(GROUP)).data
        await raise_priority(owner_connection, 0)
        second = (await tracker.get_scheduling_data(GROUP)).data
        assert first.agents is second.agents
        assert [*map(id, first.pending_sessions[1:])] == [*map(id, second.pending_sessions[1:])]

    async def test_read_all_anew_when_a_slot_type_comes(
        self, tracker: SnapshotTracker, source: HeldUpSource, owner_connection: DriverConnection
    ) -> None:
        await tracker.get_scheduling_data(GROUP)
        await owner_connection.execute("INSERT INTO slot_types (name, slot_index) VALUES ('gpu', 2)")
        refresh = await tracker.get_scheduling_data(GROUP)
        assert refresh.reason is FullReadReason.EVERYTHING
        assert_same(refresh.data, await full(source))

    async def test_read_all_anew_when_usage_was_counted_anew(
        self, tracker: SnapshotTracker, source: HeldUpSource, owner_connection: DriverConnection
    ) -> None:
        # given what owners occupy, wrong, and a tick that has seen it
        async with owner_connection.transaction():
            await owner_connection.execute("SET LOCAL scheduler_repo.keeps_changes = 'on'")
            await owner_connection.execute(
                "INSERT INTO owner_usage"
                " SELECT DISTINCT 'USER', user_id::text, 7, '{}'::numeric[] FROM sessions"
            )
        wrong = (await tracker.get_scheduling_data(GROUP)).data
        # when
        await owner_connection.execute("SELECT rebuild_usage()")
        # then
        refresh = await tracker.get_scheduling_data(GROUP)
        assert refresh.data.users != wrong.users
        # The floor has passed the token if anybody has written to the server in between.
        assert refresh.reason in {FullReadReason.EVERYTHING, FullReadReason.TRIMMED}
        assert_same(refresh.data, await full(source))

    async def test_do_not_fetch_more_ids_than_a_full_read_takes(
        self, tracker: SnapshotTracker, owner_connection: DriverConnection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A million ids took 190 MiB and a hundred times as long, before they were found to be too many."""
        monkeypatch.setattr(changes, "MAX_NEWS", 10)
        await tracker.get_scheduling_data(GROUP)
        reasons = []
        for ids in (100, 150):
            await owner_connection.execute(
                "INSERT INTO change_log (kind, sessions)"
                f" SELECT 's', array_agg(gen_random_uuid()) FROM generate_series(1, {ids})"
            )
            reasons.append((await tracker.get_scheduling_data(GROUP)).reason)
        assert reasons == [None, FullReadReason.TOO_MANY]

    async def test_of_a_group_that_is_gone_are_an_error(
        self, tracker: SnapshotTracker, owner_connection: DriverConnection
    ) -> None:
        with pytest.raises(ScalingGroupNotFound):
            await tracker.get_scheduling_data(ScalingGroupName("nowhere"))
        await tracker.get_scheduling_data(OTHER_GROUP)
        await owner_connection.execute("DELETE FROM scaling_groups WHERE name = $1", OTHER_GROUP)
        with pytest.raises(ScalingGroupNotFound):
            await tracker.get_scheduling_data(OTHER_GROUP)


class TestDependants:
    async def test_differ_with_what_they_wait_for_however_far(
        self, tracker: SnapshotTracker, source: HeldUpSource, owner_connection: DriverConnection
    ) -> None:
        # given
        for number in (1, 2):
            await owner_connection.execute(
                "INSERT INTO session_dependencies (session_id, depends_on) VALUES ($1, $2)",
                session_id(number),
                session_id(number - 1),
            )
        await tracker.get_scheduling_data(GROUP)
        # when
        await owner_connection.execute("UPDATE sessions SET status = 'CANCELLED' WHERE id = $1", session_id(0))
        refresh = await tracker.get_scheduling_data(GROUP)
        # then
        assert refresh.changes is not None
        assert {*refresh.changes.sessions} == {session_id(number) for number in range(3)}
        assert_same(refresh.data, await full(source))


class TestLoop:
    async def test_places_what_it_places_without_a_tracker_and_reads_all_once(
        self, tracker: SnapshotTracker, source: HeldUpSource
    ) -> None:
        # given
        before = count("full", "first")
        repository = SchedulerRepository(source)
        expected = BestFitPlanner().plan(await full(source))
        # when
        ticks = await SchedulerLoop(repository, BestFitPlanner(), GROUP, tracker=tracker).run_until_settled()
        # then
        assert [*ticks[0].allocated] == [each.session_id for each in expected]
        assert (len(ticks), source.refreshes) == (2, 1)
        assert count("full", "first") == before + 1
        assert_same((await tracker.get_scheduling_data(GROUP)).data, await full(source))

    async def test_says_which_transactions_have_written(self, source: HeldUpSource) -> None:
        # given six sessions, and a read before they are placed
        before = await full(source)
        # when
        tick = await SchedulerLoop(SchedulerRepository(source), BestFitPlanner(), GROUP, batch_size=4).tick()
        # then
        assert (len(tick.allocated), len(tick.transaction_ids)) == (6, 2)
        after = await SchedulerRepository(source).get_scheduling_data(GROUP, after=tick.transaction_ids)
        assert not after.pending_sessions
        assert not any(before.has_seen(each) for each in tick.transaction_ids)

    async def test_reads_what_has_changed_unless_it_is_to_read_everything(self, source: HeldUpSource) -> None:
        repository = SchedulerRepository(source)
        refreshes = []
        for full_reads in (True, False):
            loop = SchedulerLoop(repository, BestFitPlanner(), GROUP, full_reads=full_reads)
            ticks = await loop.run_until_settled()
            assert_same(ticks[-1].data, await full(source))
            await loop.tick()
            refreshes.append(source.refreshes)
        # After the one that placed all, one tick found nothing to place, and one of each is the loop's first.
        assert refreshes == [0, 1]


class TestTrimming:
    async def test_ends_what_is_older_than_the_log(
        self, tracker: SnapshotTracker, source: HeldUpSource, owner_connection: DriverConnection
    ) -> None:
        # given
        await tracker.get_scheduling_data(GROUP)
        await raise_priority(owner_connection, 4)
        # when
        for _ in range(3):
            await trim(owner_connection, Random(0))  # noqa: S311 - how often
        # then
        refresh = await tracker.get_scheduling_data(GROUP)
        assert refresh.reason is FullReadReason.TRIMMED
        assert_same(refresh.data, await full(source))


class TestCrash:
    async def test_ends_a_history_and_another_begins(
        self, tracker: SnapshotTracker, owner_connection: DriverConnection
    ) -> None:
        # given
        await tracker.get_scheduling_data(GROUP)
        async with owner_connection.transaction():
            await owner_connection.execute(
                "SET LOCAL scheduler_repo.keeps_changes = 'on'; DELETE FROM server_life"
            )
        # when
        reasons = [(await tracker.get_scheduling_data(GROUP)).reason for _ in range(4)]
        # then
        none = FullReadReason.NO_HISTORY
        assert reasons == [none, none, None, None]


class TestMisfit:
    async def test_of_changes_and_what_is_held_is_logged_and_mended(
        self,
        tracker: SnapshotTracker,
        source: HeldUpSource,
        owner_connection: DriverConnection,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        # given an index that has lost a session
        await tracker.get_scheduling_data(GROUP)
        await raise_priority(owner_connection, 0)
        with monkeypatch.context() as patch:
            patch.setattr(IndexedBase, "advance", lambda self, *_: self.sessions.clear() or self.sessions[b""])
            # when
            refresh = await tracker.get_scheduling_data(GROUP)
        # then
        assert refresh.reason is FullReadReason.DIFFERED
        assert_same(refresh.data, await full(source))
        assert "does not fit what is held" in caplog.text
        await raise_priority(owner_connection, 1)
        refresh = await tracker.get_scheduling_data(GROUP)
        assert refresh.reason is None
        assert_same(refresh.data, await full(source))


class TestInterruption:
    async def test_leaves_what_is_held(
        self, tracker: SnapshotTracker, source: HeldUpSource, owner_connection: DriverConnection
    ) -> None:
        # given
        first = await tracker.get_scheduling_data(GROUP)
        await raise_priority(owner_connection, 1)
        source.may_go_on.clear()
        cut = asyncio.create_task(tracker.get_scheduling_data(GROUP))
        await source.has_read.wait()
        # when
        cut.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut
        source.may_go_on.set()
        # then
        after = await tracker.get_scheduling_data(GROUP)
        assert (after.reason, after.since) == (None, first.data.token)
        assert_same(after.data, await full(source))


class TestConcurrentCallers:
    async def test_share_a_refresh(self, tracker: SnapshotTracker, source: HeldUpSource) -> None:
        await tracker.get_scheduling_data(GROUP)
        answers = await asyncio.gather(*(tracker.get_scheduling_data(GROUP) for _ in range(20)))
        assert len({id(each) for each in answers}) == source.refreshes == 1

    async def test_never_get_one_that_began_before_they_asked(
        self, tracker: SnapshotTracker, source: HeldUpSource, owner_connection: DriverConnection
    ) -> None:
        # given
        await tracker.get_scheduling_data(GROUP)
        source.may_go_on.clear()
        earlier = asyncio.create_task(tracker.get_scheduling_data(GROUP))
        await source.has_read.wait()
        # when
        await raise_priority(owner_connection, 2)
        later = [asyncio.create_task(tracker.get_scheduling_data(GROUP)) for _ in range(3)]
        await asyncio.sleep(0)
        source.may_go_on.set()
        # then
        await earlier
        answers = await asyncio.gather(*later)
        assert [each.data.pending_sessions[0].session_id for each in answers] == [session_id(2)] * 3
        assert source.refreshes == 2


class TestBounds:
    async def test_drop_what_was_asked_for_longest_ago(self, source: HeldUpSource) -> None:
        tracker = SnapshotTracker(source, max_groups=2)
        reasons = [
            (await tracker.get_scheduling_data(GROUP, limit)).reason for limit in (None, 1, None, 2, None, 1)
        ]
        first = FullReadReason.FIRST
        assert reasons == [first, first, None, first, None, first]

    async def test_count_the_rows_that_are_held(self, source: HeldUpSource) -> None:
        tracker = SnapshotTracker(source, max_rows=12)
        reasons = [(await tracker.get_scheduling_data(GROUP, limit)).reason for limit in (None, 2, None, 3, 2)]
        first = FullReadReason.FIRST
        assert reasons == [first, first, None, first, first]

    async def test_what_is_forgotten_is_read_anew(self, tracker: SnapshotTracker) -> None:
        await tracker.get_scheduling_data(GROUP)
        await tracker.get_scheduling_data(OTHER_GROUP)
        tracker.forget(GROUP)
        assert (await tracker.get_scheduling_data(GROUP)).reason is FullReadReason.FIRST
        assert (await tracker.get_scheduling_data(OTHER_GROUP)).reason is None
        tracker.forget()
        assert (await tracker.get_scheduling_data(OTHER_GROUP)).reason is FullReadReason.FIRST

    async def test_what_is_forgotten_during_a_refresh_is_read_anew(
        self, tracker: SnapshotTracker, source: HeldUpSource
    ) -> None:
        # given
        await tracker.get_scheduling_data(GROUP)
        source.may_go_on.clear()
        refresh = asyncio.create_task(tracker.get_scheduling_data(GROUP))
        await source.has_read.wait()
        # when
        tracker.forget(GROUP)
        source.may_go_on.set()
        # then
        assert (await refresh).reason is None
        assert (await tracker.get_scheduling_data(GROUP)).reason is FullReadReason.FIRST

    async def test_are_checked(self, source: HeldUpSource, tracker: SnapshotTracker) -> None:
        with pytest.raises(InvalidInput):
            SnapshotTracker(source, max_groups=0)
        with pytest.raises(InvalidWiring):
            SnapshotTracker(source.engine)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput):
            await tracker.get_scheduling_data(GROUP, 0)


class TestClock:
    async def test_that_is_put_back_has_candidates_in_the_order_of_a_full_read(
        self, source: HeldUpSource, owner_connection: DriverConnection
    ) -> None:
        # given sessions that have begun to run minutes ago, the oldest one last
        await owner_connection.execute("UPDATE scaling_groups SET preemption_scope = 'GROUP'")
        await owner_connection.execute(
            "UPDATE sessions SET priority = priority + 1 WHERE id = $1", session_id(5)
        )
        for number in range(4):
            await owner_connection.execute(
                "UPDATE sessions SET status = 'RUNNING', status_changed_at = now() - $2 * interval '1 minute'"
                " WHERE id = $1",
                session_id(number),
                4 - number,
            )
        base = IndexedBase(await full(source))
        assert [each.session_id for each in base.data.preemption_candidates] == [*map(session_id, (3, 2, 1, 0))]
        # when one ends, and by the clock none runs yet
        await owner_connection.execute("UPDATE sessions SET status = 'TERMINATED' WHERE id = $1", session_id(2))
        raw = await source.get_changes(base)
        assert isinstance(raw, RawChanges)
        earlier = raw.snapshot.observed_at - timedelta(hours=1)
        applied = apply_changes(base, replace(raw, snapshot=raw.snapshot._replace(observed_at=earlier)))
        # then all of them run for as long
        assert isinstance(applied, Applied)
        left = [each.session_id for each in applied.data.preemption_candidates]
        assert left == [*map(session_id, (0, 1, 3))]
