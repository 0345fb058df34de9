"""The chunked queue is, after any edits, the sorted sessions."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from scheduler_repo.entities.scheduling_data import PendingSession
from scheduler_repo.scheduling.deltas.queue import SessionQueue, queue_key
from scheduler_repo.types import (
    AccessKey,
    ClusterMode,
    DomainName,
    ProjectId,
    SessionId,
    SessionType,
    UserId,
)

_START = datetime(2026, 1, 1, tzinfo=UTC)
_ONE = PendingSession(
    session_id=SessionId(UUID(int=0)),
    name="",
    access_key=AccessKey(""),
    user_id=UserId(UUID(int=1)),
    project_id=ProjectId(UUID(int=2)),
    domain_name=DomainName(""),
    priority=0,
    session_type=SessionType.BATCH,
    cluster_mode=ClusterMode.SINGLE_NODE,
    created_at=_START,
    requested_start_at=None,
    designated_agent_ids=(),
    retry_count=0,
    failed_agent_ids=(),
    kernels=(),
    dependencies=(),
)


def session(number: int) -> PendingSession:
    """One of a number; some stand together in priority and time."""
    return replace(
        _ONE,
        session_id=SessionId(UUID(int=number)),
        priority=number % 3,
        created_at=_START + timedelta(seconds=number * 7 % 5),
    )


@settings(deadline=None)
@given(
    st.sets(st.integers(0, 4_000), max_size=30),
    st.lists(st.tuples(st.integers(0, 4_000), st.integers(1, 1_500)), max_size=4),
)
def test_edits_keep_the_order_and_lose_nothing(few: set[int], ranges: list[tuple[int, int]]) -> None:
    held = {number: session(number) for number in few}
    queue = SessionQueue.cut(tuple(sorted(held.values(), key=queue_key)))
    for start, count in ranges:
        numbers = range(start, start + count)
        gone = [held.pop(number) for number in numbers if number in held and number % 2]
        come = {number: session(number) for number in numbers if number not in held}
        before = queue.flat()
        edited = queue.edited(gone, come.values())
        assert queue.flat() == before
        held.update(come)
        queue = edited
        expected = sorted(held.values(), key=queue_key)
        assert list(queue) == expected
        assert queue.last() == (expected[-1] if expected else None)


def test_an_edit_copies_no_chunk_but_its_own() -> None:
    # given
    sessions = tuple(sorted(map(session, range(10_000)), key=queue_key))
    queue = SessionQueue.cut(sessions)
    # when
    edited = queue.edited([sessions[3_000]], [])
    # then
    kept = {id(chunk) for chunk in queue.chunks}
    assert sum(id(chunk) not in kept for chunk in edited.chunks) == 1
