"""Sessions that have been pending for longer than their group allows are cancelled, and no others."""

from datetime import timedelta

import pytest

from scheduler_repo.entities.lifecycle import SessionRetry, TransitionResult
from scheduler_repo.errors import InvalidInput, ScalingGroupNotFound
from scheduler_repo.types import ScalingGroupName, SessionId, SessionStatus
from tests.support.databases import DriverConnection
from tests.support.lives import A1, A2, Lives, history_with_reasons, leaks
from tests.support.small_cluster import CLOSED_GROUP, GROUP, place, session_id, status_of

SWEPT = "pending for longer than the scaling group allows"
OLD = "now() - interval '2 hours'"


async def set_timeout(connection: DriverConnection, bound: str) -> None:
    await connection.execute(f"UPDATE scaling_groups SET pending_timeout = {bound} WHERE name = '{GROUP}'")


async def age(connection: DriverConnection, *numbers: int) -> None:
    """Have sessions wait for two hours."""
    await connection.execute(
        f"UPDATE sessions SET status_changed_at = {OLD}, created_at = {OLD} WHERE id = ANY ($1)",
        [session_id(number) for number in numbers],
    )


@pytest.fixture
async def hour(lives: Lives, owner_connection: DriverConnection) -> None:
    """Four that wait, of whom 0 and 1 do so for two hours; the group allows one."""
    await lives.given(*[SessionStatus.PENDING] * 4)
    await set_timeout(owner_connection, "interval '1 hour'")
    await age(owner_connection, 0, 1)


class TestSweep:
    async def test_cancels_those_that_wait_for_too_long(
        self, hour: None, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # when
        result = await lives.repository.sweep_pending_sessions(GROUP)
        # then
        assert result == TransitionResult(
            SessionStatus.CANCELLED, (session_id(0), session_id(1)), (), result.transaction_id
        )
        for number in range(4):
            expected = "CANCELLED" if number < 2 else "PENDING"
            assert await status_of(owner_connection, number) == (expected, {expected})
        assert (await history_with_reasons(owner_connection, 0))[1:] == [("PENDING", "CANCELLED", SWEPT)]
        assert await leaks(owner_connection) == []
        # when
        again = await lives.repository.sweep_pending_sessions(GROUP)
        # then
        assert (again.changed, again.rejected) == ((), ())

    async def test_none_without_a_timeout(
        self, hour: None, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await set_timeout(owner_connection, "NULL")
        # when
        result = await lives.repository.sweep_pending_sessions(GROUP)
        # then
        assert (result.changed, result.rejected) == ((), ())

    async def test_only_of_the_group(
        self, hour: None, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await owner_connection.execute("UPDATE scaling_groups SET pending_timeout = interval '1 hour'")
        await owner_connection.execute(
            "UPDATE sessions SET scaling_group = 'closed' WHERE id = $1", session_id(1)
        )
        # when
        result = await lives.repository.sweep_pending_sessions(GROUP)
        # then
        assert result.changed == (session_id(0),)
        # when the other group is swept, which is closed
        result = await lives.repository.sweep_pending_sessions(CLOSED_GROUP)
        # then
        assert result.changed == (session_id(1),)

    async def test_no_more_than_the_limit(
        self, hour: None, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await age(owner_connection, 2, 3)
        swept: list[SessionId] = []
        for _ in range(2):
            # when
            result = await lives.repository.sweep_pending_sessions(GROUP, limit=3)
            # then
            swept.extend(result.changed)
            assert len(swept) in (3, 4)
        assert sorted(swept) == [session_id(number) for number in range(4)]

    @pytest.mark.parametrize(
        ("requested_start", "is_swept"),
        [
            ("now() + interval '1 minute'", False),
            ("now() - interval '59 minutes'", False),
            ("now() - interval '61 minutes'", True),
            ("now() - interval '1 day'", True),
        ],
    )
    async def test_the_time_counts_from_the_requested_start(
        self,
        hour: None,
        lives: Lives,
        owner_connection: DriverConnection,
        requested_start: str,
        is_swept: bool,
    ) -> None:
        # given
        await owner_connection.execute(
            f"UPDATE sessions SET requested_start_at = {requested_start} WHERE id = $1", session_id(0)
        )
        # when
        result = await lives.repository.sweep_pending_sessions(GROUP)
        # then
        assert result.changed == ((session_id(0),) if is_swept else ()) + (session_id(1),)

    async def test_the_time_counts_from_an_early_start_only_if_it_waited_by_then(
        self, lives: Lives, hour: None, owner_connection: DriverConnection
    ) -> None:
        # given one that came into the queue just now, to start yesterday
        await owner_connection.execute(
            "UPDATE sessions SET requested_start_at = now() - interval '1 day' WHERE id = $1", session_id(2)
        )
        # when
        result = await lives.repository.sweep_pending_sessions(GROUP)
        # then
        assert session_id(2) not in result.changed

    async def test_a_session_that_was_queued_again_waits_anew(
        self, hour: None, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given two old ones, of which one was placed meanwhile and comes back
        await lives.scheduler.allocate_sessions(GROUP, [place(0, A1, A2, A1)])
        await lives.repository.requeue_sessions([SessionRetry(session_id(0))])
        # when
        result = await lives.repository.sweep_pending_sessions(GROUP)
        # then
        assert result.changed == (session_id(1),)
        # when it waits for too long since
        await age(owner_connection, 0)
        result = await lives.repository.sweep_pending_sessions(GROUP)
        # then
        assert result.changed == (session_id(0),)

    async def test_what_was_placed_is_left_alone(
        self, hour: None, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await lives.scheduler.allocate_sessions(GROUP, [place(0, A1, A2, A1)])
        await age(owner_connection, 0)
        # when
        result = await lives.repository.sweep_pending_sessions(GROUP)
        # then
        assert result.changed == (session_id(1),)

    async def test_a_timeout_that_never_comes(
        self, hour: None, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await owner_connection.execute(
            "UPDATE scaling_groups SET pending_timeout = $1 WHERE name = $2", timedelta.max, GROUP
        )
        # when
        result = await lives.repository.sweep_pending_sessions(GROUP)
        # then
        assert result.changed == ()

    async def test_a_group_that_does_not_exist_is_named(self, lives: Lives) -> None:
        # when / then
        with pytest.raises(ScalingGroupNotFound, match="nowhere"):
            await lives.repository.sweep_pending_sessions(ScalingGroupName("nowhere"))
        with pytest.raises(ScalingGroupNotFound, match="nowhere"):
            await lives.repository.list_undispatched_sessions(ScalingGroupName("nowhere"))

    async def test_limit_that_is_none_is_refused(
        self, hour: None, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        for limit in (0, -1, 2**63, 1.5, "1", True, None):
            # when / then
            with pytest.raises(InvalidInput, match="limit"):
                await lives.repository.sweep_pending_sessions(GROUP, limit)  # type: ignore[arg-type] # tested
        assert await status_of(owner_connection, 0) == ("PENDING", {"PENDING"})
