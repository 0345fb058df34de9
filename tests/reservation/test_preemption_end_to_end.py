"""A pending session takes the room of running ones, from the reservation to its own allocation."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from scheduler_repo.entities.allocation import RejectionCode
from scheduler_repo.entities.obstacles import HoldNotFree, SlotShortage
from scheduler_repo.entities.scaling_group import ScalingGroupSpec
from scheduler_repo.entities.scheduling_data import AgentGain
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.explain.reasons import WaitingReason, waiting_reasons
from scheduler_repo.scheduling.explain.text import describe
from scheduler_repo.scheduling.rules.preemption import preemptible
from scheduler_repo.types import PreemptionScope, ScalingGroupName, SessionStatus
from tests.reservation.contest import A1, A2, LOW, Contest, hold, important
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.lives import history_with_reasons, leaks
from tests.support.small_cluster import GROUP, agent, cluster, place, session, session_id

PREEMPTED = "preempted: what it occupies is reserved for a session of higher priority"


@pytest.fixture
async def full(contest: Contest) -> Contest:
    """Both agents of ten cores are full: 1 and 2 run on the first, 3 on both; 10 and 11 wait."""
    await contest.given(
        [agent(A1), agent(A2)],
        [
            important(session(1, 4), LOW),
            important(session(2, 3), LOW),
            important(session(3, 3, 10), LOW),
            important(session(10, 7)),
            session(11, 2),
        ],
        {1: [A1], 2: [A1], 3: [A1, A2]},
    )
    return contest


async def reasons(contest: Contest) -> dict[int, tuple[WaitingReason, str]]:
    """Why each session waits, by number."""
    data = await contest.read()
    return {
        waiting.session_id.int - 1_000: (waiting.reason, describe(waiting, data))
        for waiting in waiting_reasons(data)
    }


class TestPreemption:
    async def test_from_the_candidates_to_the_allocation(self, full: Contest) -> None:
        # given: who may be preempted by the session that waits first
        data = await full.read()
        waiting = data.pending_sessions[0]
        assert waiting.session_id == session_id(10)
        candidates = preemptible(waiting, data)
        assert {each.session_id: dict(_gains(each.gains)) for each in candidates} == {
            session_id(1): {A1: ((4, 1), 1)},
            session_id(2): {A1: ((3, 1), 1)},
            session_id(3): {A1: ((3, 1), 1), A2: ((10, 1), 1)},
        }
        # when: 1 and 2 end for it
        result = await full.reserve(hold(10, A1, victims=[1, 2]))
        # then
        assert (result.reserved, result.rejected) == ((session_id(10),), ())
        assert result.transaction_id is not None
        data = await full.read()
        assert data.has_seen(result.transaction_id)
        for victim in (1, 2):
            assert await full.status(victim) is SessionStatus.TERMINATING
            change = (await history_with_reasons(full.connection, victim))[-1]
            assert change == ("RUNNING", "TERMINATING", PREEMPTED)
        (held,) = data.reservations
        assert held.session_id == session_id(10)
        assert [(each.agent_id, each.requested_slots) for each in held.kernels] == [(A1, (7, 1))]
        assert [(each.reserved, each.reserved_containers) for each in data.agents] == [((7, 1), 1), ((0, 0), 0)]
        assert (await reasons(full))[10] == (
            WaitingReason.RESERVED,
            "its reservation on agent a1 waits for cpu 7 (free for it now: 0)",
        )
        assert await full.plan() == {}

    async def test_others_cannot_take_what_is_freed(self, full: Contest) -> None:
        # given
        await full.reserve(hold(10, A1, victims=[1, 2]))
        # when: the first victim has ended, which frees more than the other session asks for
        await full.end(1)
        # then
        assert await full.plan() == {}
        assert (await reasons(full))[11] == (
            WaitingReason.NOT_ENOUGH_FREE,
            "no agent has free at once cpu 2 (most on one agent: 0)",
        )
        refused = await full.allocate(place(11, A1), place(10, A1))
        assert refused.allocated == ()
        assert [(each.code, each.detail) for each in refused.rejected] == [
            (RejectionCode.AGENT, SlotShortage(0, requested=2, available=-3)),
            (RejectionCode.AGENT, SlotShortage(0, requested=7, available=4)),
        ]
        # when: the other one has, too
        await full.end(2)
        # then: a tick places the session where it is held, and the other still waits
        assert await full.plan() == {session_id(10): (A1,)}
        assert (await reasons(full))[10] == (
            WaitingReason.PLACEABLE,
            "fits now on a1; a plan that comes to it will place it",
        )
        result = await full.allocate(place(11, A1), place(10, A1))
        assert result.allocated == (session_id(10),)
        assert await full.holders() == []
        assert await full.scheduler.count_overcommitted_agents(GROUP) == 0
        assert await leaks(full.connection) == []

    async def test_what_is_left_over_goes_to_others(self, full: Contest) -> None:
        # given: a victim of ten cores for a session of seven
        await full.reserve(hold(10, A2, victims=[3]))
        assert (await full.read()).agents[1].reserved == (7, 1)
        await full.end(3)
        # when / then: two of the three cores that are left, and the first agent's three
        assert await full.plan() == {session_id(10): (A2,), session_id(11): (A1,)}
        assert (await full.allocate(place(11, A2), place(10, A2))).rejected == ()

    async def test_the_reason_names_the_first_agent_that_is_not_free(self, contest: Contest) -> None:
        # given
        await contest.given(
            [agent(A1), agent(A2)],
            [important(session(1, 10), LOW), important(session(2, 4, 4))],
            {1: [A2]},
        )
        await contest.reserve(hold(2, A1, A2, victims=[1]))
        # when
        (waiting,) = waiting_reasons(await contest.read())
        # then
        shortage = SlotShortage(0, requested=4, available=0)
        assert waiting.detail == HoldNotFree(A2, shortage)  # type: ignore[arg-type]


class TestOptions:
    async def test_are_created_and_read(
        self, load: Load, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        minute = timedelta(minutes=1, microseconds=1)
        groups = (
            ScalingGroupSpec(
                name=ScalingGroupName("preemptive"),
                preemption_scope=PreemptionScope.PROJECT,
                preemption_min_runtime=minute,
            ),
            ScalingGroupSpec(name=ScalingGroupName("patient")),
        )
        spec = cluster([], [])
        await load(spec)
        # when
        await load(type(spec)(slot_types=(), scaling_groups=groups, agents=(), owners=type(spec.owners)()))
        # then
        for name, expected in (
            ("preemptive", (PreemptionScope.PROJECT, minute)),
            ("patient", (None, timedelta())),
        ):
            info = (await scheduler.get_scheduling_data(ScalingGroupName(name))).scaling_group
            assert (info.preemption_scope, info.preemption_min_runtime) == expected


def _gains(gains: Sequence[AgentGain]) -> list[tuple[str, tuple[tuple[int, ...], int]]]:
    return [(each.agent_id, (each.slots, each.container_count)) for each in gains]
