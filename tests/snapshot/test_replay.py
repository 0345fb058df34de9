"""One plan on a snapshot: what it places, what the gate says of it, and what waits then."""

from collections.abc import Sequence
from uuid import UUID

from hypothesis import HealthCheck, given, settings

from scheduler_repo.entities.allocation import KernelAllocation, RejectionCode, SessionAllocation
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.scheduling.explain.reasons import WaitingReason
from scheduler_repo.scheduling.explain.replay import replay_plan
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import AgentId, SessionId
from tests.support.strategies import make_agent, make_data, make_session, reserved_scheduling_data


class Overcommitting:
    """Places everything on one agent, and a session that is not there."""

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        return [
            *(
                SessionAllocation(
                    each.session_id,
                    tuple(KernelAllocation(k.kernel_id, data.agents[0].agent_id) for k in each.kernels),
                )
                for each in data.pending_sessions
            ),
            SessionAllocation(SessionId(UUID(int=99)), ()),
        ]


class TestReplay:
    def test_what_waits_is_judged_on_what_is_left(self) -> None:
        data = make_data(
            (make_agent("agent", (5, 5, 0)),), tuple(make_session(number, (3, 1, 0)) for number in (1, 2))
        )
        replayed = replay_plan(data)
        assert replayed.placed == BestFitPlanner().plan(data)
        assert [each.session_id.int for each in replayed.placed] == [1]
        (left,) = replayed.waiting
        assert (left.waiting.session_id.int, left.waiting.reason) == (2, WaitingReason.NOT_ENOUGH_FREE)
        assert left.text == "no agent has free at once cpu 0.003 core (most on one agent: 0.002 core)"

    def test_the_gate_judges_any_planner(self) -> None:
        data = make_data(
            (make_agent("agent", (5, 5, 0)),), tuple(make_session(number, (3, 1, 0)) for number in (1, 2))
        )
        replayed = replay_plan(data, Overcommitting())
        assert [each.session_id.int for each in replayed.placed] == [1]
        assert [(each.session_id.int, each.code, each.agent_id) for each in replayed.rejected] == [
            (2, RejectionCode.AGENT, AgentId("agent")),
            (99, RejectionCode.SESSION_UNKNOWN, None),
        ]
        assert [each.waiting.session_id.int for each in replayed.waiting] == [2]

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(reserved_scheduling_data())
    def test_the_gate_takes_what_the_own_planner_places(self, data: SchedulingData) -> None:
        replayed = replay_plan(data)
        assert replayed.rejected == ()
        assert replayed.placed == BestFitPlanner().plan(data)
        placed = {each.session_id for each in replayed.placed}
        waiting = [each.session_id for each in data.pending_sessions if each.session_id not in placed]
        assert [each.waiting.session_id for each in replayed.waiting] == waiting
