"""What is held does not grow with the refreshes that it has had."""

import gc
import tracemalloc
from uuid import UUID

import pytest
from msgspec.structs import replace

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.scheduling.deltas.apply import Applied, apply_changes
from scheduler_repo.scheduling.deltas.base import IndexedBase, owner_of_key, owners_of
from scheduler_repo.scheduling.deltas.rows import ChangedOwnerRow, RawChanges
from scheduler_repo.types import AccessKey, DomainName, KernelId, ProjectId, SessionId, UserId
from tests.support.databases import DriverConnection
from tests.support.small_cluster import GROUP, agent, cluster, session, session_id

ROUNDS = 150
# Some times as many as it takes until what is shared is dropped.
PASSING = 1_000
# Far less than the smallest object for each round.
MOST = 4_096
OWNERS = ("access_key", "user_id", "project_id", "domain_name")
# A session that waits no more, one that does again, and one that may be preempted meanwhile.
CHANGES = (
    "UPDATE sessions SET status = 'RUNNING', status_changed_at = now() WHERE id = $1",
    "UPDATE sessions SET status = 'PENDING' WHERE id = $1",
)


async def test_of_a_base_stays_what_it_was_however_often_it_is_brought_up_to_date(
    engine: ExtendedAsyncSAEngine, owner_connection: DriverConnection
) -> None:
    # given the rows of two refreshes, of which each undoes what the other does
    sessions = [session(number, 1, 2) for number in range(20)]
    await ClusterRepository(ClusterDBSource(engine)).load_cluster(cluster([agent("a1"), agent("a2")], sessions))
    await owner_connection.execute("UPDATE scaling_groups SET preemption_scope = 'GROUP'")
    await owner_connection.execute("UPDATE sessions SET priority = 9 WHERE id = $1", session_id(7))
    source = SchedulerDBSource(engine)
    base = IndexedBase((await source.get_scheduling_data(GROUP)).data)
    refreshes: list[RawChanges] = []
    for change in CHANGES:
        await owner_connection.execute(change, session_id(3))
        raw = await source.get_changes(base)
        assert isinstance(raw, RawChanges)
        refresh(base, raw)
        refreshes.append(raw)
    assert [len(raw.session_ids) for raw in refreshes] == [1, 1]
    # when
    tracemalloc.start()
    try:
        held = []
        for _ in range(2):
            for number in range(ROUNDS):
                refresh(base, refreshes[number % 2])
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # then
    assert held[1] - held[0] < MOST
    assert len(base.data.pending_sessions) == len(base.sessions) == 20


async def test_of_sessions_that_change_one_by_one_is_shared_where_they_are_alike(
    engine: ExtendedAsyncSAEngine, owner_connection: DriverConnection
) -> None:
    # given
    sessions = [session(number, 1, 2) for number in range(4)]
    await ClusterRepository(ClusterDBSource(engine)).load_cluster(cluster([agent("a1"), agent("a2")], sessions))
    source = SchedulerDBSource(engine)
    base = IndexedBase((await source.get_scheduling_data(GROUP)).data)
    # when
    for number in range(4):
        await owner_connection.execute("UPDATE sessions SET priority = 9 WHERE id = $1", session_id(number))
        raw = await source.get_changes(base)
        assert isinstance(raw, RawChanges)
        refresh(base, raw)
    # then
    held = base.data.pending_sessions
    assert len(held) == 4
    assert len({id(getattr(each, field)) for each in held for field in OWNERS}) == len(OWNERS)
    vectors = [kernel.requested_slots for each in held for kernel in each.kernels]
    assert (len({*map(id, vectors)}), len(vectors)) == (2, 8)


@pytest.mark.slow
async def test_of_a_base_is_bounded_however_many_sessions_and_owners_have_passed_through(
    engine: ExtendedAsyncSAEngine, owner_connection: DriverConnection
) -> None:
    # given the rows of a session that waits, to be those of ever new sessions of ever new owners
    sessions = [session(number, 1, 2) for number in range(20)]
    await ClusterRepository(ClusterDBSource(engine)).load_cluster(cluster([agent("a1"), agent("a2")], sessions))
    source = SchedulerDBSource(engine)
    base = IndexedBase((await source.get_scheduling_data(GROUP)).data)
    await owner_connection.execute("UPDATE sessions SET priority = 9 WHERE id = $1", session_id(3))
    raw = await source.get_changes(base)
    assert isinstance(raw, RawChanges)
    refresh(base, raw)
    # when
    tracemalloc.start()
    try:
        most = []
        for half in range(2):
            held = []
            for number in range(half * PASSING, (half + 1) * PASSING):
                refresh(base, replaced(base, raw, number))
                if number % 10 == 0:
                    held.append(tracemalloc.get_traced_memory()[0])
            most.append(max(held))
    finally:
        tracemalloc.stop()
    # then both reach what is shared just before that is dropped, give or take a table that was enlarged
    assert most[1] < most[0] * 1.1
    assert len(base.data.pending_sessions) == len(base.sessions) == 20


def replaced(base: IndexedBase, raw: RawChanges, number: int) -> RawChanges:
    """Have the session that was held first go, and another come, of owners that nobody has known."""
    (row,) = raw.sessions
    come = row._replace(
        session_id=SessionId(UUID(int=2**100 + number)),
        name=f"session-{number}",
        access_key=AccessKey(f"key-{number}"),
        user_id=UserId(UUID(int=2**101 + number)),
        project_id=ProjectId(UUID(int=2**102 + number)),
        domain_name=DomainName(f"domain-{number}"),
        kernel_ids=[KernelId(UUID(int=2**103 + number))] * len(row.kernel_ids),
        slots=[f"{{{number},0}}"] * len(row.slots),
    )
    owners = [
        ChangedOwnerRow(scope, str(owner_of_key(key)), 0, [], None, None, None, None, None, None)
        for key in owners_of(come)
        for scope in [key[0]]
    ]
    gone = next(iter(base.sessions.values())).session_id
    return replace(raw, session_ids=[gone, come.session_id], sessions=[come], owners=owners)


def refresh(base: IndexedBase, raw: RawChanges) -> None:
    applied = apply_changes(base, raw)
    assert isinstance(applied, Applied)
    assert applied.changes.sessions
    base.advance(applied.data, applied.edits)
