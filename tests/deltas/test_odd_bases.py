"""What Redis may have of a group, and what it leads to: the answer of a full read, and no error."""

from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from time import monotonic
from typing import Final

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from scheduler_repo.cache.client import create_redis
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import FullReadReason
from scheduler_repo.entities.snapshot_token import Snapshot
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.scheduler.tracker import SnapshotTracker
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.settings import CacheSettings, SecretKey, SecretUrl
from tests.deltas.held_answers import assert_same
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import GROUP, agent, cluster, ledger_of, session
from tests.support.waiting import PATIENCE

Change = Callable[[SchedulingData], SchedulingData]


def with_first(**fields: object) -> Change:
    """Change the session at the head of the queue."""

    def change(data: SchedulingData) -> SchedulingData:
        first, *others = data.pending_sessions
        return replace(data, pending_sessions=(replace(first, **fields), *others))

    return change


def with_snapshot(text: str) -> Change:
    return lambda data: replace(data, token=replace(data.token, snapshot=Snapshot(text)))


ODD_BASES: Final = {
    "a priority that no database has": (with_first(priority=2**40), FullReadReason.DIFFERED),
    "a time without a zone": (with_first(created_at=datetime(2026, 1, 1)), FullReadReason.DIFFERED),  # noqa: DTZ001
    "another order": (
        lambda data: replace(data, pending_sessions=data.pending_sessions[::-1]),
        FullReadReason.DIFFERED,
    ),
    "an instant to come": (with_snapshot(f"9:{2**62 + 9}:"), FullReadReason.FUTURE),
    "an instant long ago": (with_snapshot("3:3:"), FullReadReason.TRIMMED),
    "no history": (
        lambda data: replace(data, token=replace(data.token, history=None)),
        FullReadReason.NO_HISTORY,
    ),
}


@pytest.mark.parametrize("name", ODD_BASES)
async def test_an_odd_base_is_a_full_read(
    name: str, engine: ExtendedAsyncSAEngine, load: Load, redis_url: str, owner_connection: DriverConnection
) -> None:
    # given a base that was stored so, and changes since
    change, reason = ODD_BASES[name]
    source = SchedulerDBSource(engine)
    await load(cluster([agent("a1")], [session(number, 1) for number in range(3)]))
    await owner_connection.execute("UPDATE scaling_groups SET preemption_scope = 'GROUP'")
    data = (await source.get_scheduling_data(GROUP)).data
    redis = create_redis(CacheSettings(url=SecretUrl(redis_url), timeout=PATIENCE))
    first, second, third = (SchedulerCacheSource(redis, source, timeout=PATIENCE) for _ in range(3))
    first.store_base(change(data), monotonic())
    await first.drain()
    await owner_connection.execute("UPDATE sessions SET priority = priority + 1")
    # when
    refresh = await SnapshotTracker(source, second).get_scheduling_data(GROUP)
    younger = await third.get_scheduling_data(GROUP, max_staleness=1e-6)
    await third.drain()
    await redis.aclose()
    # then
    assert_same(younger.data, refresh.data)
    assert_same(refresh.data, (await source.get_scheduling_data(GROUP)).data)
    assert refresh.reason is reason


@pytest.mark.parametrize("keys", [(), (SecretKey("key-" * 8),)], ids=["without keys", "with keys"])
async def test_a_forged_base_is_believed_without_keys_alone(
    keys: tuple[SecretKey, ...],
    engine: ExtendedAsyncSAEngine,
    load: Load,
    redis_url: str,
    owner_connection: DriverConnection,
) -> None:
    """Even then it overcommits no agent: the database judges each placement."""
    # given a base by which three sessions find room where there is room for one
    source = SchedulerDBSource(engine)
    await load(cluster([agent("a1")], [session(number, 10) for number in range(3)]))
    data = (await source.get_scheduling_data(GROUP)).data
    roomy = tuple(
        replace(each, capacity=tuple(10 * amount for amount in each.capacity)) for each in data.agents
    )
    settings = CacheSettings(url=SecretUrl(redis_url), timeout=PATIENCE)
    async with aclosing(create_redis(settings)) as of_a_stranger:
        forger = SchedulerCacheSource(of_a_stranger, source, timeout=PATIENCE)
        forger.store_base(replace(data, agents=roomy), monotonic())
        await forger.drain()
    # when
    before = _refused_signatures()
    async with aclosing(create_redis(replace(settings, signing_keys=keys))) as redis:
        cache = SchedulerCacheSource(redis, source, timeout=PATIENCE)
        loop = SchedulerLoop(SchedulerRepository(source, cache), BestFitPlanner(), GROUP)
        tick = await loop.tick()
        await cache.drain()
    # then
    assert tick.data.agents == (data.agents if keys else roomy)
    assert (len(tick.allocated), len(tick.rejected)) == ((1, 0) if keys else (1, 2))
    assert _refused_signatures() - before == len(keys)
    assert (await ledger_of(owner_connection, "a1")).cpu == 10


def _refused_signatures() -> float:
    labels = {"cache": "scheduling_data", "outcome": "bad_signature"}
    return REGISTRY.get_sample_value("scheduler_repo_cache_lookup_count_total", labels) or 0.0
