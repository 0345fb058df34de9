"""Processes that begin from the state that another has stored in Redis, and catch up from there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from random import Random
from time import monotonic
from typing import Final
from uuid import UUID

import pytest
import redis.asyncio as redis_asyncio
import sqlalchemy as sa
from msgspec.structs import replace
from prometheus_client import REGISTRY

from scheduler_repo.cache.client import ValkeyClient, create_redis
from scheduler_repo.cache.entry import Entry, build_entry, open_entry
from scheduler_repo.cache.metrics import CacheOutcome
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import FullReadReason
from scheduler_repo.entities.snapshot_token import ServerLife, Snapshot, SnapshotToken
from scheduler_repo.errors import InvalidWiring, ScalingGroupNotFound
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.scheduler import base_upkeep
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource, TimedSchedulingData
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.scheduler.tracker import SnapshotTracker
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.snapshot.encoding import encode_scheduling_data
from scheduler_repo.scheduling.snapshot.packing import compress_encoding
from scheduler_repo.settings import CacheSettings, SecretUrl
from scheduler_repo.steps import finish
from scheduler_repo.types import ScalingGroupName
from tests.cache.world import direct
from tests.deltas.held_answers import assert_same
from tests.deltas.writes import SETUP, WRITES, create, move
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.redis_proxy import Mode, RedisProxy, redis_proxied
from tests.support.small_cluster import agent, cluster, session
from tests.support.waiting import PATIENCE, hurried

GROUP: Final = ScalingGroupName("gpu")
OTHER_GROUP: Final = ScalingGroupName("other")
KEY: Final = f"scheduler_repo:scheduling_data:{GROUP}"
OTHER_KEY: Final = f"scheduler_repo:scheduling_data:{OTHER_GROUP}"
LIFETIME: Final = 600.0


class Process:
    """One process with nothing yet: a cache source with a client of its own, and a tracker."""

    def __init__(self, client: ValkeyClient, db_source: SchedulerDBSource) -> None:
        self.client = client
        self.cache_source = SchedulerCacheSource(client, db_source, lifetime=LIFETIME)
        self.repository = SchedulerRepository(db_source, self.cache_source)
        self.tracker = self.repository.make_tracker()

    async def close(self) -> None:
        await self.cache_source.aclose()
        await self.client.aclose()

    async def store(self, group: ScalingGroupName = GROUP) -> SchedulingData:
        """Read a group, store it in place of what is there, and return what is stored.

        That may be of a later snapshot than what was read: other databases of the server have transactions too.
        """
        await self.client.remove((f"scheduler_repo:scheduling_data:{group}",))
        self.tracker.forget(group)
        await self.tracker.get_scheduling_data(group)
        assert await self.tracker.store_base(group)
        return await base_of(self, group)


@pytest.fixture
async def processes(db_source: SchedulerDBSource, redis_url: str) -> AsyncIterator[Callable[..., Process]]:
    """Makes processes of one database and one Redis, or of a proxy before it."""
    async with AsyncExitStack() as stack:

        def make(url: str = redis_url) -> Process:
            settings = CacheSettings(url=SecretUrl(url), timeout=PATIENCE)
            process = Process(ValkeyClient(create_redis(settings), timeout=PATIENCE), db_source)
            stack.push_async_callback(process.close)
            return process

        yield make


@pytest.fixture
async def rows(owner_connection: DriverConnection) -> None:
    """Sessions of all kinds, some of which wait."""
    await owner_connection.execute(SETUP)
    for seed in range(16):
        await create(owner_connection, Random(seed))  # noqa: S311 - a workload, not a secret
        await move(owner_connection, Random(seed))  # noqa: S311 - a workload, not a secret


Make = Callable[..., Process]


@pytest.fixture
async def redis(redis_url: str) -> "AsyncIterator[redis_asyncio.Redis]":
    async with direct(redis_url) as client:
        yield client


@pytest.fixture
async def own_proxy(redis_url: str) -> AsyncIterator[RedisProxy]:
    """A proxy before Redis, for one process."""
    async with redis_proxied(redis_url) as running:
        yield running


async def full(db_source: SchedulerDBSource, group: ScalingGroupName = GROUP) -> SchedulingData:
    return (await db_source.get_scheduling_data(group)).data


async def prioritise(connection: DriverConnection) -> None:
    """Change every session that waits."""
    await connection.execute("UPDATE sessions SET priority = priority + 1 WHERE status = 'PENDING'")


def count(answer: str, reason: str = "") -> float:
    labels = {"scaling_group": GROUP, "answer": answer, "reason": reason}
    return REGISTRY.get_sample_value("scheduler_repo_snapshot_refresh_count_total", labels) or 0.0


def stores(outcome: str) -> float:
    labels = {"cache": "scheduling_data", "outcome": outcome}
    return REGISTRY.get_sample_value("scheduler_repo_cache_store_count_total", labels) or 0.0


@pytest.mark.usefixtures("rows")
class TestBeginning:
    async def test_answers_what_a_full_read_does_and_goes_on_from_there(
        self, processes: Make, db_source: SchedulerDBSource, owner_connection: DriverConnection
    ) -> None:
        # given a base, and changes since
        base = await processes().store()
        await prioritise(owner_connection)
        begun, unchanged = count("base"), count("unchanged")
        # when
        tracker = processes().tracker
        refresh = await tracker.get_scheduling_data(GROUP)
        # then
        assert (refresh.reason, refresh.since) == (None, base.token)
        assert refresh.changes is not None
        assert {*refresh.changes.sessions} == {each.session_id for each in base.pending_sessions}
        assert_same(refresh.data, await full(db_source))
        assert (await tracker.get_scheduling_data(GROUP)).since == refresh.data.token
        assert (count("base"), count("unchanged")) == (begun + 1, unchanged + 1)

    @pytest.mark.parametrize("seed", range(4))
    async def test_obeys_the_law_after_any_writes(
        self, processes: Make, db_source: SchedulerDBSource, owner_connection: DriverConnection, seed: int
    ) -> None:
        rng, storing = Random(seed), processes()  # noqa: S311 - a workload, not a secret
        for _ in range(3):
            for group in (GROUP, OTHER_GROUP):
                await storing.store(group)
            for _ in range(10):
                await rng.choice(WRITES)(owner_connection, rng)
            tracker = processes().tracker
            for group in (GROUP, OTHER_GROUP):
                assert_same((await tracker.get_scheduling_data(group)).data, await full(db_source, group))

    async def test_of_a_part_of_the_queue_is_a_full_read(self, processes: Make) -> None:
        await processes().store()
        process = processes()
        assert (await process.tracker.get_scheduling_data(GROUP, 3)).reason is FullReadReason.FIRST
        assert not process.cache_source.outcomes

    async def test_of_a_group_that_is_gone_is_an_error(
        self, processes: Make, owner_connection: DriverConnection
    ) -> None:
        await processes().store(OTHER_GROUP)
        await owner_connection.execute("DELETE FROM session_dependencies; DELETE FROM sessions")
        await owner_connection.execute("DELETE FROM agents; DELETE FROM scaling_groups WHERE name = 'other'")
        with pytest.raises(ScalingGroupNotFound):
            await processes().tracker.get_scheduling_data(OTHER_GROUP)

    async def test_needs_the_same_database(self, processes: Make) -> None:
        with pytest.raises(InvalidWiring, match="cache_source"):
            SnapshotTracker(processes().cache_source.db_source, processes().tracker)  # type: ignore[arg-type]


Spoil = Callable[["redis_asyncio.Redis", SchedulingData], Awaitable[None]]


@pytest.mark.usefixtures("rows")
class TestWhatIsKnown:
    async def test_of_a_group_goes_with_what_is_held_of_it(
        self, processes: Make, db_source: SchedulerDBSource
    ) -> None:
        process = processes()
        tracker = SnapshotTracker(db_source, process.cache_source, max_groups=1)
        for group in (GROUP, OTHER_GROUP) * 2:
            await tracker.get_scheduling_data(group)
            await tracker.store_base(group)
            await process.cache_source.drain()
            assert tracker._upkeep is not None
            assert list(tracker._upkeep._known) == [group]


async def put(redis: "redis_asyncio.Redis", data: SchedulingData, **identity: str) -> None:
    """Store what the header says is of GROUP and of its database, but for what is given."""
    stored = await redis.get(KEY)
    assert isinstance(stored, bytes)
    entry = open_entry(stored)
    assert isinstance(entry, Entry)
    header = replace(entry.header, token=str(data.token), identity=replace(entry.header.identity, **identity))
    await redis.set(KEY, build_entry(header, compress_encoding(finish(encode_scheduling_data(data)))))


def spoilt(change: Callable[[SchedulingData], SchedulingData]) -> Spoil:
    async def spoil(redis: "redis_asyncio.Redis", data: SchedulingData) -> None:
        await put(redis, change(data))

    return spoil


def of(identity: str, value: str) -> Spoil:
    async def spoil(redis: "redis_asyncio.Redis", data: SchedulingData) -> None:
        await put(redis, data, **{identity: value})

    return spoil


def token_with(**fields: object) -> Spoil:
    return spoilt(lambda data: replace(data, token=replace(data.token, **fields)))


def history_with(**fields: object) -> Spoil:
    def change(data: SchedulingData) -> SchedulingData:
        assert data.token.history is not None
        return replace(data, token=replace(data.token, history=replace(data.token.history, **fields)))

    return spoilt(change)


def database_with(change: Callable[[SnapshotToken], dict[str, object]]) -> Spoil:
    def changed(data: SchedulingData) -> SchedulingData:
        database = replace(data.token.database, **change(data.token))
        return replace(data, token=replace(data.token, database=database))

    return spoilt(changed)


def bytes_of(change: Callable[[bytes], bytes]) -> Spoil:
    async def spoil(redis: "redis_asyncio.Redis", _: SchedulingData) -> None:
        stored = await redis.get(KEY)
        assert isinstance(stored, bytes)
        await redis.set(KEY, change(stored))

    return spoil


async def _gone(redis: "redis_asyncio.Redis", _: SchedulingData) -> None:
    await redis.delete(KEY)


async def _a_list(redis: "redis_asyncio.Redis", _: SchedulingData) -> None:
    await redis.delete(KEY)
    await redis.rpush(KEY, b"one")


async def _of_the_other_group(redis: "redis_asyncio.Redis", _: SchedulingData) -> None:
    await redis.copy(OTHER_KEY, KEY, replace=True)


async def _another_token_in_the_header(redis: "redis_asyncio.Redis", data: SchedulingData) -> None:
    stored = await redis.get(KEY)
    assert isinstance(stored, bytes)
    entry = open_entry(stored)
    assert isinstance(entry, Entry)
    other = replace(data.token, snapshot=Snapshot("1:1:"))
    await redis.set(KEY, build_entry(replace(entry.header, token=str(other)), bytes(entry.value)))


FIRST: Final = FullReadReason.FIRST
# What is in Redis, how its look-up is counted, and why everything is read.
BAD_BASES: Final[dict[str, tuple[Spoil, CacheOutcome, FullReadReason]]] = {
    "nothing": (_gone, CacheOutcome.ABSENT, FIRST),
    "a list": (_a_list, CacheOutcome.UNREADABLE, FIRST),
    "garbage": (bytes_of(lambda _: bytes(range(255, 0, -1))), CacheOutcome.UNREADABLE, FIRST),
    "a half": (bytes_of(lambda stored: stored[: len(stored) // 2]), CacheOutcome.UNREADABLE, FIRST),
    "more": (bytes_of(lambda stored: stored + b"\0"), CacheOutcome.UNREADABLE, FIRST),
    "one bit else": (
        bytes_of(lambda stored: stored[:-9] + bytes([stored[-9] ^ 1]) + stored[-8:]),
        CacheOutcome.UNREADABLE,
        FIRST,
    ),
    "another group's": (_of_the_other_group, CacheOutcome.OTHER_KEY, FIRST),
    "another group's content": (
        spoilt(lambda data: replace(data, scaling_group=replace(data.scaling_group, name=OTHER_GROUP))),
        CacheOutcome.OTHER_KEY,
        FIRST,
    ),
    "a part of the queue": (
        spoilt(lambda data: replace(data, pending_limit=3)),
        CacheOutcome.OTHER_KEY,
        FIRST,
    ),
    "another cache's": (of("cache", "session"), CacheOutcome.OTHER_KEY, FIRST),
    "another revision's": (of("format_version", "1-0123456789ab"), CacheOutcome.OTHER_FORMAT, FIRST),
    "another database's": (of("database", "1/2/3/2026"), CacheOutcome.OTHER_DATABASE, FIRST),
    "another token's": (_another_token_in_the_header, CacheOutcome.UNREADABLE, FIRST),
    "no snapshot's": (token_with(snapshot="'; DROP TABLE"), CacheOutcome.UNREADABLE, FIRST),
    "a standby's": (token_with(history=None), CacheOutcome.HIT, FullReadReason.NO_HISTORY),
    "another table's": (
        database_with(lambda token: {"table_oid": token.database.table_oid + 1}),
        CacheOutcome.HIT,
        FullReadReason.OTHER_DATABASE,
    ),
    "an earlier start's": (
        database_with(lambda token: {"started_at": token.database.started_at - timedelta(1)}),
        CacheOutcome.HIT,
        FullReadReason.RESTARTED,
    ),
    "another log's": (history_with(log_oid=1), CacheOutcome.HIT, FullReadReason.OTHER_DATABASE),
    "another timeline's": (history_with(timeline=99), CacheOutcome.HIT, FullReadReason.OTHER_TIMELINE),
    "an ended life's": (
        history_with(life=ServerLife(UUID(int=7))),
        CacheOutcome.HIT,
        FullReadReason.CRASHED,
    ),
    "other triggers'": (history_with(triggers="none"), CacheOutcome.HIT, FullReadReason.TRIGGERS_CHANGED),
    "the future's": (
        token_with(snapshot=f"{10**12}:{10**12}:"),
        CacheOutcome.HIT,
        FullReadReason.FUTURE,
    ),
    "a session twice": (
        spoilt(lambda data: replace(data, pending_sessions=(*data.pending_sessions, data.pending_sessions[0]))),
        CacheOutcome.HIT,
        FullReadReason.DIFFERED,
    ),
    "a trimmed past's": (token_with(snapshot="3:3:"), CacheOutcome.HIT, FullReadReason.TRIMMED),
}


@pytest.mark.usefixtures("rows")
class TestBadBases:
    async def test_are_a_full_read_and_counted(
        self,
        processes: Make,
        redis: "redis_asyncio.Redis",
        db_source: SchedulerDBSource,
        owner_connection: DriverConnection,
    ) -> None:
        storing = processes()
        await storing.store(OTHER_GROUP)
        for name, (spoil, outcome, reason) in BAD_BASES.items():
            # given
            data = await storing.store()
            assert data.pending_sessions
            await spoil(redis, data)
            await prioritise(owner_connection)
            before = count("full", reason)
            # when
            process = processes()
            refresh = await process.tracker.get_scheduling_data(GROUP)
            # then
            assert (refresh.reason, process.cache_source.outcomes) == (reason, {outcome: 1}), name
            assert count("full", reason) == before + 1, name
            assert_same(refresh.data, await full(db_source))
            # and what is stored then is of use
            assert await process.tracker.store_base(GROUP), name
            await process.cache_source.drain()
            assert (await processes().tracker.get_scheduling_data(GROUP)).reason is None, name


async def base_of(process: Process, group: ScalingGroupName = GROUP) -> SchedulingData:
    """What another process finds."""
    await process.cache_source.drain()
    base = await process.cache_source.find_base(group)
    assert base is not None
    return base


async def age(redis: "redis_asyncio.Redis", seconds: float) -> None:
    """Make what is stored older than it is."""
    stored = await redis.get(KEY)
    assert isinstance(stored, bytes)
    entry = open_entry(stored)
    assert isinstance(entry, Entry)
    header = replace(entry.header, taken_at_ms=entry.header.taken_at_ms - round(seconds * 1000))
    await redis.set(KEY, build_entry(header, bytes(entry.value)))


class TestLoop:
    @pytest.fixture(autouse=True)
    async def cluster(self, load: Load) -> None:
        """Six sessions that find room."""
        await load(cluster([agent("a1"), agent("a2")], [session(number, 1, 2) for number in range(6)]))

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """How many seconds later it is for what decides when to store."""
        later = [0.0]
        monkeypatch.setattr(base_upkeep, "monotonic", lambda: monotonic() + later[0])
        return later

    async def test_stores_what_has_seen_its_own_writes(
        self, processes: Make, redis: "redis_asyncio.Redis", clock: list[float]
    ) -> None:
        process, reader = processes(), processes()
        loop = SchedulerLoop(process.repository, BestFitPlanner(), GROUP)
        # when
        tick = await loop.tick()
        # then
        assert tick.transaction_ids
        base = await base_of(process)
        assert all(base.has_seen(each) for each in tick.transaction_ids)
        assert not any(tick.data.has_seen(each) for each in tick.transaction_ids)
        # and a reader that asks for these writes is answered by it
        timed = await reader.repository.get_timed_scheduling_data(GROUP, 60.0, after=tick.transaction_ids)
        assert (timed.data.token, timed.read_seconds) == (base.token, 0.0)

    async def test_stores_after_the_first_tick_and_at_half_a_lifetime(
        self, processes: Make, redis: "redis_asyncio.Redis", clock: list[float]
    ) -> None:
        process = processes()
        loop = SchedulerLoop(process.repository, BestFitPlanner(), GROUP)
        tokens = []
        for later in (0.0, LIFETIME / 2 - 60, LIFETIME / 2 + 1):
            if later:
                await age(redis, later - clock[0])
            clock[0] = later
            await loop.tick()
            tokens.append((await base_of(process)).observed_at)
        assert tokens[0] == tokens[1] < tokens[2]

    async def test_stores_when_catching_up_is_dear_but_not_after_every_tick(
        self, processes: Make, clock: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(base_upkeep, "DEAR_CHANGES", 3)
        process = processes()
        tracker = process.tracker
        connection = process.cache_source.db_source
        stored = []

        async def refresh(seconds: float) -> None:
            clock[0] += seconds
            await tracker.get_scheduling_data(GROUP)
            stored.append(await tracker.store_base(GROUP))

        await refresh(0)
        await refresh(LIFETIME / 9)
        async with connection.engine.begin_session() as db_sess:
            await db_sess.execute(sa.text("UPDATE sessions SET priority = priority + 1"))
        await refresh(0)
        await refresh(LIFETIME / 9)
        assert stored == [True, False, True, False]

    async def test_reads_and_stores_nothing_where_changes_cannot_be_followed(
        self, processes: Make, db_source: SchedulerDBSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given a standby's answers
        read = db_source.get_scheduling_data

        async def read_there(*question: object) -> TimedSchedulingData:
            timed = await read(*question)  # type: ignore[arg-type]
            token = replace(timed.data.token, history=None)
            return replace(timed, data=replace(timed.data, token=token))

        monkeypatch.setattr(db_source, "get_scheduling_data", read_there)
        process = processes()
        await process.tracker.get_scheduling_data(GROUP)
        before = stores("stored"), count("full", "no_history")
        # when
        is_due = await process.tracker.store_base(GROUP)
        await process.cache_source.drain()
        # then
        assert not is_due
        assert (stores("stored"), count("full", "no_history")) == before

    async def test_goes_on_without_redis(self, processes: Make, own_proxy: RedisProxy) -> None:
        process = processes(own_proxy.url)
        own_proxy.mode = Mode.CUT
        with hurried(process.client):
            tick = await SchedulerLoop(process.repository, BestFitPlanner(), GROUP).tick()
            await process.cache_source.drain()
        assert tick.allocated
        assert process.cache_source.outcomes == {CacheOutcome.UNREACHABLE: 1}


@pytest.mark.usefixtures("rows")
class TestManyProcesses:
    async def test_one_stores_and_the_others_use_it(
        self, processes: Make, owner_connection: DriverConnection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given two processes that know one base, which has become dear
        monkeypatch.setattr(base_upkeep, "DEAR_CHANGES", 1)
        monkeypatch.setattr(base_upkeep, "_SHARE", 0.0)
        storing, others = processes(), [processes() for _ in range(3)]
        await storing.store()
        for other in others:
            await other.tracker.get_scheduling_data(GROUP)
        await prioritise(owner_connection)
        for each in (storing, *others):
            await each.tracker.get_scheduling_data(GROUP)
        # when
        assert await storing.tracker.store_base(GROUP)
        await storing.cache_source.drain()
        # then
        assert [await other.tracker.store_base(GROUP) for other in others] == [False] * 3

    async def test_at_once_leave_the_turn_to_one(self, processes: Make) -> None:
        many = [processes() for _ in range(4)]
        for each in many:
            await each.tracker.get_scheduling_data(GROUP)
        before = stores("stored"), stores("superseded")
        assert all(await asyncio.gather(*(each.tracker.store_base(GROUP) for each in many)))
        await asyncio.gather(*(each.cache_source.drain() for each in many))
        outcomes = stores("stored") - before[0], stores("superseded") - before[1]
        # Who comes when the first has ended may store one that is as new.
        assert sum(outcomes) == 4
        assert outcomes[0] >= 1
        assert (await processes().tracker.get_scheduling_data(GROUP)).reason is None

    async def test_never_store_an_older_one_in_place_of_a_newer(
        self, processes: Make, owner_connection: DriverConnection
    ) -> None:
        # given a base that was read before another, and comes to be stored after it
        late, early = processes(), processes()
        older = (await late.tracker.get_scheduling_data(GROUP)).data
        asked_at = monotonic()
        await prioritise(owner_connection)
        newer = await early.store()
        before = stores("superseded")
        # when
        late.cache_source.store_base(older, asked_at)
        # then
        assert (await base_of(late)).token == newer.token
        assert stores("superseded") == before + 1

    async def test_store_in_place_of_one_of_another_life_however_new(
        self, processes: Make, redis: "redis_asyncio.Redis"
    ) -> None:
        process = processes()
        data = await process.store()
        history = data.token.history
        assert history is not None
        token = replace(data.token, history=replace(history, life=ServerLife(UUID(int=7))))
        await put(redis, replace(data, token=replace(token, snapshot=Snapshot(f"{10**12}:{10**12}:"))))
        process.cache_source.store_base(data, monotonic())
        assert (await base_of(processes())).token != token
        await process.cache_source.drain()
        assert (await base_of(process)).token == data.token
