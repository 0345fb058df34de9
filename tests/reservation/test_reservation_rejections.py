"""Each thing that can stand against a reservation is found, and named."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from scheduler_repo.entities.obstacles import (
    ArchitectureMismatch,
    NotDesignated,
    OwnerBreach,
    Protection,
    QuotaBreach,
    QuotaKind,
    SlotShortage,
    StartNotReached,
)
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.reservation import (
    ProtectedVictim,
    ReservationRejectionCode,
    ReservationResult,
    SessionReservation,
)
from scheduler_repo.entities.scheduling_data import SessionDependency
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.types import (
    AgentId,
    ClusterMode,
    OwnerScope,
    PreemptionScope,
    ScalingGroupName,
    SessionStatus,
)
from tests.reservation.contest import A1, A2, A3, HIGH, LOW, Contest, hold, important, of_others, rejected
from tests.support.small_cluster import (
    ARM,
    CLOSED_GROUP,
    CPU,
    GROUP,
    OTHER_GROUP,
    OWNER_IDS,
    X86,
    agent,
    kernel_id,
    place,
    session,
    session_id,
)

FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
AGENTS = (agent(A1), agent(A2), agent(A3, scaling_group=OTHER_GROUP))
RUNS = {1: [A1], 2: [A2]}


def running() -> list[SessionCreationSpec]:
    """One that fills the first agent, one that takes half of the second, and the one that is reserved for."""
    return [important(session(1, 10), LOW), important(session(2, 5), LOW), important(session(9, 1))]


class TestRejections:
    """In each the batch also reserves for 9, on the second agent, which succeeds."""

    @pytest.fixture(autouse=True)
    async def nothing_of_the_rejected_is_kept(self, contest: Contest) -> AsyncIterator[None]:
        yield
        assert await contest.holders() == [session_id(9)]
        assert await contest.connection.fetchval("SELECT count(*) FROM kernel_reservations") == 1
        terminating = await contest.connection.fetchval(
            "SELECT count(*) FROM sessions WHERE status = 'TERMINATING'"
        )
        assert terminating == 0

    async def reserve(self, contest: Contest, *batch: SessionReservation) -> ReservationResult:
        result = await contest.reserve(*batch, hold(9, A2))
        assert result.reserved == (session_id(9),)
        return result

    async def test_named_twice(self, contest: Contest) -> None:
        # given
        await contest.given(AGENTS, running(), RUNS)
        # when
        result = await contest.reserve(hold(9, A2), hold(9, A2))
        # then
        assert result.rejected == (rejected(9, ReservationRejectionCode.DUPLICATE),)

    async def test_unknown(self, contest: Contest) -> None:
        await contest.given(AGENTS, running(), RUNS)
        result = await self.reserve(contest, hold(10, A1, victims=[1]))
        assert result.rejected == (rejected(10, ReservationRejectionCode.SESSION_UNKNOWN),)

    async def test_of_another_group(self, contest: Contest) -> None:
        await contest.given(AGENTS, [*running(), session(10, 1, scaling_group=OTHER_GROUP)], RUNS)
        result = await self.reserve(contest, hold(10, A2))
        assert result.rejected == (rejected(10, ReservationRejectionCode.OTHER_GROUP),)

    async def test_not_pending(self, contest: Contest) -> None:
        await contest.given(AGENTS, running(), RUNS)
        result = await self.reserve(contest, hold(2, A2))
        code = ReservationRejectionCode.NOT_PENDING
        assert result.rejected == (rejected(2, code, detail=SessionStatus.RUNNING),)

    async def test_reserved_already(self, contest: Contest) -> None:
        # given
        await contest.given(AGENTS, running(), RUNS)
        await contest.reserve(hold(9, A2))
        # when: with other victims, too, which must not end
        result = await contest.reserve(hold(9, A1, victims=[1]), hold(9, A2))
        # then
        assert result.rejected == (
            rejected(9, ReservationRejectionCode.ALREADY_RESERVED),
            rejected(9, ReservationRejectionCode.DUPLICATE),
        )

    @pytest.mark.parametrize("named", [(), (0,), (0, 0), (0, 1, 1), (0, 1, 2)])
    async def test_other_kernels(self, contest: Contest, named: tuple[int, ...]) -> None:
        # given
        await contest.given(AGENTS, [*running(), important(session(10, 1, 1))], RUNS)
        kernels = tuple(
            place(10, *[A1] * 3).kernels[index] if index < 2 else place(9, A1).kernels[0] for index in named
        )
        # when
        result = await self.reserve(contest, SessionReservation(session_id(10), kernels, (session_id(1),)))
        # then
        assert result.rejected == (rejected(10, ReservationRejectionCode.KERNELS_DIFFER),)

    async def test_spread(self, contest: Contest) -> None:
        single = important(session(10, 1, 1, cluster_mode=ClusterMode.SINGLE_NODE))
        await contest.given(AGENTS, [*running(), single], RUNS)
        result = await self.reserve(contest, hold(10, A1, A2, victims=[1]))
        assert result.rejected == (rejected(10, ReservationRejectionCode.SPREAD),)

    async def test_unknown_agent(self, contest: Contest) -> None:
        await contest.given(AGENTS, [*running(), important(session(10, 1))], RUNS)
        result = await self.reserve(contest, hold(10, "gone", victims=[1]))
        assert result.rejected == (rejected(10, ReservationRejectionCode.AGENT_UNKNOWN, "gone"),)

    @pytest.mark.parametrize(
        "change",
        ["status = 'LOST'", "status = 'DRAINING'", "is_schedulable = false", "scaling_group = 'other'"],
    )
    async def test_unavailable_agent(self, contest: Contest, change: str) -> None:
        # given
        await contest.given(AGENTS, [*running(), important(session(10, 1))], RUNS)
        await contest.connection.execute(f"UPDATE agents SET {change} WHERE id = $1", A1)
        # when
        result = await self.reserve(contest, hold(10, A1, victims=[1]))
        # then
        assert result.rejected == (rejected(10, ReservationRejectionCode.AGENT_UNAVAILABLE, A1),)

    async def test_agent_that_does_not_suit(self, contest: Contest) -> None:
        # given
        unfit = [
            important(session(10, 1, architecture=ARM)),
            important(session(11, 1, designated=(AgentId(A2),))),
        ]
        await contest.given(AGENTS, [*running(), *unfit], RUNS)
        # when
        result = await self.reserve(contest, hold(10, A1, victims=[1]), hold(11, A1, victims=[1]))
        # then
        mismatch = ArchitectureMismatch(requested=ARM, available=X86)
        assert result.rejected == (
            rejected(10, ReservationRejectionCode.AGENT, A1, detail=mismatch),
            rejected(11, ReservationRejectionCode.AGENT, A1, detail=NotDesignated(AgentId(A1), (AgentId(A2),))),
        )

    async def test_too_little_even_when_all_that_ends_has_ended(self, contest: Contest) -> None:
        # given
        larger = [important(session(10, 6)), important(session(11, 11))]
        await contest.given(AGENTS, [*running(), *larger], RUNS)
        # when: a victim that is not on the agent, and one that is
        result = await self.reserve(contest, hold(10, A2, victims=[1]), hold(11, A2, victims=[2]))
        # then
        assert result.rejected == (
            rejected(10, ReservationRejectionCode.AGENT, A2, detail=SlotShortage(0, 6, 5)),
            rejected(11, ReservationRejectionCode.AGENT, A2, detail=SlotShortage(0, 11, 10)),
        )

    async def test_beside_what_others_hold(self, contest: Contest) -> None:
        # given
        await contest.given(AGENTS, [*running(), important(session(10, 5))], RUNS)
        # when: the one core that 9 holds is one too many
        result = await contest.reserve(hold(9, A2), hold(10, A2))
        again = await contest.reserve(hold(10, A2))
        # then
        short = rejected(10, ReservationRejectionCode.AGENT, A2, detail=SlotShortage(0, 5, 4))
        assert result.rejected == again.rejected == (short,)

    async def test_dependency(self, contest: Contest) -> None:
        waiting = important(session(10, 1, depends_on=(session_id(2),)))
        await contest.given(AGENTS, [*running(), waiting], RUNS)
        result = await self.reserve(contest, hold(10, A1, victims=[1]))
        unmet = SessionDependency(session_id(2), SessionStatus.RUNNING, None)
        assert result.rejected == (rejected(10, ReservationRejectionCode.DEPENDENCY, detail=unmet),)

    async def test_start(self, contest: Contest) -> None:
        later = important(session(10, 1, requested_start_at=FUTURE))
        await contest.given(AGENTS, [*running(), later], RUNS)
        result = await self.reserve(contest, hold(10, A1, victims=[1]))
        (rejection,) = result.rejected
        assert rejection.code is ReservationRejectionCode.START_NOT_REACHED
        assert isinstance(rejection.detail, StartNotReached)
        assert rejection.detail.requested_start_at == FUTURE

    async def test_unknown_victim(self, contest: Contest) -> None:
        await contest.given(AGENTS, [*running(), important(session(10, 1))], RUNS)
        result = await self.reserve(contest, hold(10, A1, victims=[1, 99]))
        assert result.rejected == (rejected(10, ReservationRejectionCode.VICTIM_UNKNOWN, victim=99),)

    async def test_victim_of_another_group(self, contest: Contest) -> None:
        # given
        elsewhere = important(session(3, 1, scaling_group=OTHER_GROUP), LOW)
        await contest.given(AGENTS, [*running(), elsewhere, important(session(10, 1))], RUNS)
        await contest.scheduler.allocate_sessions(OTHER_GROUP, [place(3, A3)])
        await contest.start(3)
        # when
        result = await self.reserve(contest, hold(10, A1, victims=[3, 1]))
        # then
        assert result.rejected == (rejected(10, ReservationRejectionCode.VICTIM_OTHER_GROUP, victim=3),)

    async def test_victim_that_does_not_run(self, contest: Contest) -> None:
        # given
        await contest.given(AGENTS, [*running(), important(session(10, 1)), important(session(11, 1))], RUNS)
        # when: one that waits, and itself
        result = await self.reserve(contest, hold(10, A1, victims=[9]), hold(11, A1, victims=[11]))
        # then
        code = ReservationRejectionCode.VICTIM_NOT_RUNNING
        assert result.rejected == (
            rejected(10, code, victim=9, detail=SessionStatus.PENDING),
            rejected(11, code, victim=11, detail=SessionStatus.PENDING),
        )

    @pytest.mark.parametrize(
        ("scope", "min_runtime", "priority", "protection"),
        [
            (None, timedelta(), HIGH, Protection.PREEMPTION_OFF),
            (PreemptionScope.GROUP, timedelta(), LOW, Protection.PRIORITY),
            (PreemptionScope.USER, timedelta(), HIGH, Protection.OTHER_OWNER),
            (PreemptionScope.PROJECT, timedelta(), HIGH, Protection.OTHER_OWNER),
            (PreemptionScope.DOMAIN, timedelta(), HIGH, Protection.OTHER_OWNER),
            (PreemptionScope.GROUP, timedelta(hours=1), HIGH, Protection.MIN_RUNTIME),
        ],
    )
    async def test_protected_victim(
        self,
        contest: Contest,
        scope: PreemptionScope,
        min_runtime: timedelta,
        priority: int,
        protection: Protection,
    ) -> None:
        # given
        waiting = important(of_others(session(10, 1)), priority)
        await contest.given(AGENTS, [*running(), waiting], RUNS, scope=scope, min_runtime=min_runtime)
        # when
        result = await self.reserve(contest, hold(10, A1, victims=[1]))
        # then
        code = ReservationRejectionCode.VICTIM_PROTECTED
        assert result.rejected == (rejected(10, code, victim=1, detail=ProtectedVictim(protection)),)


class TestInactiveGroup:
    async def test_reserves_nothing(self, contest: Contest) -> None:
        # given
        await contest.given(
            [agent(A1, scaling_group=CLOSED_GROUP)], [session(10, 1, scaling_group=CLOSED_GROUP)], {}
        )
        # when
        closed = ScalingGroupName(CLOSED_GROUP)
        result = await contest.reservations.reserve_sessions(closed, [hold(10, A1)])
        # then
        assert result.rejected == (rejected(10, ReservationRejectionCode.GROUP_INACTIVE),)


class TestVictims:
    async def test_end_for_one_session_only(self, contest: Contest) -> None:
        # given
        waiting = [important(session(10, 4)), important(session(11, 4)), important(session(12, 4))]
        await contest.given(AGENTS, [*running(), *waiting], RUNS)
        # when: in one batch, and later
        result = await contest.reserve(hold(10, A1, victims=[1, 1]), hold(11, A1, victims=[1]))
        later = await contest.reserve(hold(12, A1, victims=[1]))
        # then
        code = ReservationRejectionCode.VICTIM_NOT_RUNNING
        assert result.reserved == (session_id(10),)
        assert result.rejected == (rejected(11, code, victim=1, detail=SessionStatus.TERMINATING),)
        assert later.rejected == (rejected(12, code, victim=1, detail=SessionStatus.TERMINATING),)
        # when: without naming it, what it gives back beyond the first hold is there for them
        result = await contest.reserve(hold(11, A1), hold(12, A1))
        # then
        assert result.reserved == (session_id(11),)
        assert result.rejected == (
            rejected(12, ReservationRejectionCode.AGENT, A1, detail=SlotShortage(0, 4, 2)),
        )
        assert await contest.overpromised() == 0

    async def test_of_a_rejected_session_are_there_for_the_next(self, contest: Contest) -> None:
        # given
        waiting = [important(session(10, 11)), important(session(11, 10))]
        await contest.given(AGENTS, [*running(), *waiting], RUNS)
        # when
        result = await contest.reserve(hold(10, A1, victims=[1]), hold(11, A1, victims=[1]))
        # then
        assert result.reserved == (session_id(11),)
        assert await contest.status(1) is SessionStatus.TERMINATING


class TestQuotas:
    """The owner of everything may have 10 cores, and has them; what ends gives back, what is held counts."""

    @pytest.fixture(params=list(OwnerScope))
    async def limited(self, request: pytest.FixtureRequest, contest: Contest) -> tuple[Contest, OwnerScope]:
        scope = request.param
        quota = QuotaSpec(scope=scope, owner_id=OWNER_IDS[scope], slot_limits={CPU: 10})
        sessions = [
            important(session(1, 5), LOW),
            important(session(2, 5), LOW),
            important(of_others(session(3, 5)), LOW),
            important(session(10, 5)),
            important(session(11, 5)),
            important(session(12, 5)),
        ]
        runs = {1: [A1], 2: [A1], 3: [A2]}
        await contest.given([agent(A1), agent(A2, cpu=30)], sessions, runs, quotas=[quota])
        return contest, scope

    def breach(self, scope: OwnerScope, used: int) -> OwnerBreach:
        breach = QuotaBreach(QuotaKind.SLOT, 0, used=used, requested=5, limit=10)
        return OwnerBreach(scope, OWNER_IDS[scope], breach)

    async def test_victims_of_the_same_owner_give_theirs_back(
        self, limited: tuple[Contest, OwnerScope]
    ) -> None:
        # given
        contest, scope = limited
        # when: without a victim, with one of another owner, then with one of the same for each
        refused = await contest.reserve(hold(10, A2), hold(11, A2, victims=[3]))
        result = await contest.reserve(hold(10, A2, victims=[1]), hold(11, A2, victims=[2]), hold(12, A2))
        # then
        code = ReservationRejectionCode.OWNER_LIMIT
        assert refused.rejected == (
            rejected(10, code, detail=self.breach(scope, 10)),
            rejected(11, code, detail=self.breach(scope, 10)),
        )
        assert result.reserved == (session_id(10), session_id(11))
        assert result.rejected == (rejected(12, code, detail=self.breach(scope, 10)),)

    async def test_one_write_after_the_other(self, limited: tuple[Contest, OwnerScope]) -> None:
        # given
        contest, scope = limited
        # when
        results = [
            await contest.reserve(hold(10, A2, victims=[1])),
            await contest.reserve(hold(11, A2, victims=[2])),
            await contest.reserve(hold(12, A2)),
        ]
        # then: as in one batch
        assert [len(result.reserved) for result in results] == [1, 1, 0]
        assert results[2].rejected[0].detail == self.breach(scope, 10)
        # when: one has ended and its hold was given up
        await contest.end(1)
        await contest.reservations.release_reservations([session_id(10)])
        # then
        assert (await contest.reserve(hold(12, A2))).reserved == (session_id(12),)

    async def test_sessions_at_once(self, contest: Contest) -> None:
        # given
        quota = QuotaSpec(scope=OwnerScope.USER, owner_id=OWNER_IDS[OwnerScope.USER], max_concurrent_sessions=1)
        pair = important(session(1, 2, 2), LOW)
        await contest.given(
            [agent(A1)],
            [pair, important(session(10, 5)), important(session(11, 1))],
            {1: [A1, A1]},
            quotas=[quota],
        )
        # when
        result = await contest.reserve(hold(11, A1), hold(10, A1, victims=[1]))
        after = await contest.reserve(hold(11, A1))
        # then: its two kernels are one session
        breach = QuotaBreach(QuotaKind.CONCURRENT_SESSIONS, None, used=1, requested=1, limit=1)
        detail = OwnerBreach(OwnerScope.USER, OWNER_IDS[OwnerScope.USER], breach)
        refusal = rejected(11, ReservationRejectionCode.OWNER_LIMIT, detail=detail)
        assert result.reserved == (session_id(10),)
        assert result.rejected == after.rejected == (refusal,)
        assert kernel_id(10) == (await contest.read()).reservations[0].kernels[0].kernel_id
        assert (await contest.scheduler.get_scheduling_data(GROUP)).users[0].session_count == 1
