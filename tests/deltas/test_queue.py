"""The chunked queue is, after any edits, the sorted sessions."""

import pickle
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
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
        before = tuple(queue)
        edited = queue.edited(gone, come.values())
        assert tuple(queue) == before
        held.update(come)
        queue = edited
        expected = sorted(held.values(), key=queue_key)
        assert list(queue) == expected
        assert len(queue) == len(expected)
        assert queue == tuple(expected)
        assert [queue[at] for at in range(-len(expected), len(expected), 97)] == [
            expected[at] for at in range(-len(expected), len(expected), 97)
        ]
        for part in (slice(300, 900), slice(-5, None), slice(None, None, -3), slice(9, 2)):
            assert queue[part] == tuple(expected[part])
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


def test_a_queue_is_a_tuple_to_who_looks_at_it() -> None:
    sessions = tuple(sorted(map(session, range(1_200)), key=queue_key))
    queue = SessionQueue.cut(sessions)
    assert queue == sessions
    assert sessions == queue
    assert queue == SessionQueue.cut(sessions[:-1]).edited([], sessions[-1:])
    assert queue != SessionQueue.cut(sessions[1:])
    assert hash(queue) == hash(sessions)
    assert sessions[700] in queue
    assert type(pickle.loads(pickle.dumps(queue))) is tuple  # noqa: S301 - our own
    assert msgspec.json.encode(queue, enc_hook=tuple) == msgspec.json.encode(sessions)
    for at in (1_200, -1_201):
        with pytest.raises(IndexError):
            queue[at]
    with pytest.raises(AttributeError):
        queue.chunks = ()
    with pytest.raises(AttributeError):
        del queue.chunks
