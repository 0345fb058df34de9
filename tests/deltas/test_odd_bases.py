"""What Redis may have of a group, and what it leads to: the answer of a full read, and no error."""

from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import Final

import pytest
from msgspec.structs import replace

from scheduler_repo.cache.client import create_redis
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import FullReadReason
from scheduler_repo.entities.snapshot_token import Snapshot
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.tracker import SnapshotTracker
from scheduler_repo.settings import CacheSettings, SecretUrl
from tests.deltas.held_answers import assert_same
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import GROUP, agent, cluster, session
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
