"""Rows of pending sessions become structs, whatever chunks they are cut into."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_repo import steps
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.scheduling.snapshot.owners import take_sessions
from scheduler_repo.scheduling.snapshot.pending import build_dependencies, build_kernels, build_sessions
from scheduler_repo.scheduling.snapshot.rows import PendingDependencyRow, PendingKernelRow, PendingSessionRow
from scheduler_repo.scheduling.snapshot.sent_values import read_times
from scheduler_repo.steps import finish
from scheduler_repo.types import (
    AccessKey,
    Architecture,
    DomainName,
    KernelId,
    ProjectId,
    SessionId,
    UserId,
)

# Where PostgreSQL begins to count, and the years that a session may have.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_CREATED_AT = datetime(2026, 1, 1, 12, 30, 15, 123_456, tzinfo=UTC)


@pytest.fixture(autouse=True, scope="module")
def _short_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(steps, "CHUNK_ROWS", 3)
        yield


def _kernel_row(session: int, index: int, amounts: tuple[int, ...]) -> PendingKernelRow:
    text = f"{{{','.join(map(str, amounts))}}}"
    kernel_id = KernelId(UUID(int=1000 * session + index))
    return PendingKernelRow(UUID(int=session).bytes, kernel_id, index, Architecture("x"), text)


def _microseconds(when: datetime) -> int:
    """What timestamptz_send makes of a time, as a number."""
    return (when - _EPOCH) // timedelta(microseconds=1)


def _session_row(number: int, session_type: str) -> PendingSessionRow:
    # Texts and UUIDs of their own for each row, as the driver makes them.
    return PendingSessionRow(
        SessionId(UUID(int=number)),
        f"session {number}",
        AccessKey("".join(["key ", str(number % 2)])),
        UserId(UUID(int=number % 2)),
        ProjectId(UUID(int=7)),
        DomainName("".join(["do", "main"])),
        0,
        session_type,
        "SINGLE_NODE",
        _microseconds(_CREATED_AT).to_bytes(8, signed=True),
        None,
        ["b", "a"] if number % 3 else None,
        0,
        None,
    )


class TestKernels:
    @given(
        counts=st.lists(st.integers(1, 8), max_size=8), amounts=st.lists(st.integers(0, 2**63 - 1), max_size=3)
    )
    def test_each_session_has_its_own_in_their_order(self, counts: list[int], amounts: list[int]) -> None:
        # given
        rows = [
            _kernel_row(session, index, tuple(amounts))
            for session, count in enumerate(counts)
            for index in range(count)
        ]
        # when
        kernels = finish(build_kernels(rows))
        # then
        assert rows == []
        assert {session: [kernel.kernel_index for kernel in each] for session, each in kernels.items()} == {
            UUID(int=session).bytes: list(range(count)) for session, count in enumerate(counts)
        }
        assert {kernel.requested_slots for each in kernels.values() for kernel in each} <= {tuple(amounts)}
        assert len({id(kernel.requested_slots) for each in kernels.values() for kernel in each}) <= 1


class TestSessions:
    @given(types=st.lists(st.sampled_from(["BATCH", "of a newer version"]), max_size=10))
    def test_each_has_its_owners_and_what_is_unreadable_is_left_out(self, types: list[str]) -> None:
        # given
        rows = [_session_row(number, session_type) for number, session_type in enumerate(types)]
        _, columns = finish(take_sessions(list(rows)))
        unreadable: dict[str, UnreadableRow] = {}
        # when
        sessions = finish(build_sessions(columns, {}, {}, unreadable))
        # then
        readable = [row for row in rows if row.session_type == "BATCH"]
        assert [(each.session_id, each.access_key, each.user_id, each.project_id) for each in sessions] == [
            (row.session_id, row.access_key, row.user_id, row.project_id) for row in readable
        ]
        assert {each.created_at for each in sessions} <= {_CREATED_AT}
        assert [each.designated_agent_ids for each in sessions] == [
            tuple(sorted(row.designated_agent_ids or ())) for row in readable
        ]
        assert len(unreadable) == len(rows) - len(readable)
        assert len({id(each.access_key) for each in sessions}) == len({each.access_key for each in sessions})
        assert len({id(each.user_id) for each in sessions}) == len({each.user_id for each in sessions})
        assert (
            len({id(each.domain_name) for each in sessions} | {id(each.project_id) for each in sessions}) <= 2
        )


class TestTimes:
    @given(
        times=st.lists(st.integers(_microseconds(_FIRST), _microseconds(_LAST)), max_size=3)
        | st.lists(st.integers(_microseconds(_CREATED_AT), 2 * _microseconds(_CREATED_AT)), max_size=100)
    )
    def test_are_read_to_the_microsecond(self, times: list[int]) -> None:
        # when
        read = read_times([each.to_bytes(8, signed=True) for each in times])
        # then
        assert read == [_EPOCH + timedelta(microseconds=each) for each in times]
        assert all(when.tzinfo is UTC for when in read)


class TestDependencies:
    def test_a_long_chain_is_followed_in_steps(self) -> None:
        # given: each waits for the one before, and the first for one that is gone
        chain = 30
        ids = [SessionId(UUID(int=number)) for number in range(chain + 1)]
        rows = [
            PendingDependencyRow(ids[number], ids[number - 1], "PENDING" if number > 1 else None, None)
            for number in range(1, chain + 1)
        ]
        build = build_dependencies(rows, {})
        steps_taken = 0
        # when
        while True:
            try:
                next(build)
            except StopIteration as stop:
                dependencies = stop.value
                break
            steps_taken += 1
        # then: rows, links, the search and the marks stop every three
        assert [dependencies[each.bytes][0].is_hopeless for each in ids[1:]] == [False, *[True] * (chain - 1)]
        assert not any(each.can_be_met for (each,) in dependencies.values())
        assert steps_taken >= 4 * chain / 3
