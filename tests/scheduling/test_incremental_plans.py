"""The law of plans: made from what has changed, a plan is what it is made from everything."""

from collections import Counter
from random import Random
from typing import Optional
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import Refresh, SnapshotChanges
from scheduler_repo.errors import InvalidInput
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.planner.protocol import FullPlanReason, IncrementalPlan
from scheduler_repo.types import AgentId, ClusterMode, SessionId
from tests.scheduling.histories import History, first_refresh, made_next, next_refresh
from tests.support.strategies import ACCESS_KEYS, ARM, X86, make_agent, make_data, make_session, make_usage

_SIZES = ((1, 5), (3, 12), (8, 40), (25, 150))


class Ticks:
    """Ticks of one history, planned from changes and from everything."""

    def __init__(self, seed: object, agents: int, pending: int) -> None:
        rng = Random(str(seed))  # noqa: S311 - a workload, not a secret
        self.max_allocations: Optional[int] = rng.choice([None, None, None, 3])
        self.history = History(rng, agents, pending, rng.choice([None, None, pending // 2 + 1]))
        self.planner = BestFitPlanner(self.max_allocations)
        self.outcomes: Counter[str] = Counter()

    def tick(self) -> IncrementalPlan:
        refresh = self.history.refresh()
        made = self.planner.plan_changes(refresh)
        # then
        assert made.allocations == BestFitPlanner(self.max_allocations).plan(refresh.data)
        kind = "incremental" if made.reason is None else made.reason.value
        self.outcomes[kind] += 1
        self.outcomes["reindexed"] += made.is_reindexed
        if made.reason is None:
            self.outcomes["placed"] += len(made.allocations)
            self.outcomes["waiting"] += len(refresh.data.pending_sessions)
            self.outcomes["tried"] += made.tried_sessions
        self.history.write(made.allocations)
        return made

    def run(self, ticks: int) -> Counter[str]:
        for _ in range(ticks):
            self.tick()
            self.history.step()
        return self.outcomes


def begin(planner: BestFitPlanner, data: SchedulingData) -> IncrementalPlan:
    """Have a planner remember what it has planned, which it does of a refresh that says what has changed."""
    planner.plan_changes(first_refresh(data))
    return planner.plan_changes(next_refresh(data, data))


class TestLaw:
    """Over random histories, of all that may happen between two ticks, whether plans are written or not."""

    @given(st.integers(0, 2**64), st.sampled_from(_SIZES[:3]))
    def test_any_history(self, seed: int, size: tuple[int, int]) -> None:
        Ticks(seed, *size).run(12)

    def test_each_size(self) -> None:
        outcomes: Counter[str] = Counter()
        for size in _SIZES:
            outcomes += Ticks("short", *size).run(20)
        # The seed says it all: without these it would show nothing.
        assert outcomes["incremental"] > 60
        assert outcomes["placed"] > 60
        assert 3 * outcomes["tried"] < outcomes["waiting"]
        assert not outcomes["misfit"]

    def test_much_at_once(self) -> None:
        for seed in range(2):
            ticks = Ticks(seed, 25, 150)
            for _ in range(3):
                # given: a plan from changes, which comes as soon as few sessions are placed
                while ticks.tick().reason is not None:
                    pass
                # when: the whole queue is another one
                ticks.history.pending.clear()
                for _ in range(150):
                    ticks.history.create()
                # then: to follow that would cost more, unless the refresh does not even know it
                assert ticks.tick().reason in (FullPlanReason.TOO_MANY, FullPlanReason.FULL_READ)
                assert not ticks.planner._memories
            assert ticks.outcomes["too_many"]

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    def test_ten_thousand_ticks(self) -> None:
        outcomes: Counter[str] = Counter()
        for seed in range(28):
            for size in _SIZES:
                outcomes += Ticks(seed, *size).run(100)
        assert outcomes["incremental"] > 10_000
        assert {"first", "full_read", "missed", "limits", "reindexed"} <= set(outcomes)
        assert not outcomes["misfit"]


class TestKernelsThatDiffer:
    """Such a session may find a place as an agent has less room: its largest kernel goes elsewhere then."""

    # The larger kernel takes x, and the other one, for x86_64 alone, finds no place. With less room on x, the
    # larger one goes to y and the other one to x.
    AGENTS = (make_agent("x", (3, 0, 0)), make_agent("y", (4, 0, 0), architecture=ARM))
    PAIR = make_session(2, (3, 0, 0), (2, 0, 0), cluster_mode=ClusterMode.MULTI_NODE, architectures=(None, X86))
    PLACED = SessionId(UUID(int=2))

    def test_is_tried_again_when_an_agent_has_lost_room(self) -> None:
        # given
        planner, before = BestFitPlanner(), make_data(self.AGENTS, (self.PAIR,))
        assert begin(planner, before).allocations == ()
        # when
        smaller = make_agent("x", (3, 0, 0), (1, 0, 0)), self.AGENTS[1]
        after = made_next(before, agents=smaller)
        made = planner.plan_changes(next_refresh(before, after))
        # then
        assert made.reason is None
        assert [each.session_id for each in made.allocations] == [self.PLACED]
        assert made.allocations == BestFitPlanner().plan(after)

    def test_is_tried_again_when_the_plan_itself_has_taken_room(self) -> None:
        # given: a session before it that its owner's limit holds back
        first = make_session(1, (1, 0, 0), owners=(1, 1, 1, 1), designated=(AgentId("x"),))
        limited = make_usage(ACCESS_KEYS[1], session_count=1, max_concurrent_sessions=1)
        free = make_usage(ACCESS_KEYS[1], session_count=0, max_concurrent_sessions=1)
        other = make_usage(ACCESS_KEYS[0])
        planner = BestFitPlanner()
        before = make_data(self.AGENTS, (first, self.PAIR), access_keys=(other, limited))
        assert begin(planner, before).allocations == ()
        # when
        after = made_next(before, access_keys=(other, free))
        made = planner.plan_changes(next_refresh(before, after))
        # then
        assert made.reason is None
        assert [each.session_id for each in made.allocations] == [first.session_id, self.PLACED]
        assert made.allocations == BestFitPlanner().plan(after)


class TestMemory:
    """What is remembered: of each group by itself, as long as it fits, and no longer."""

    AGENTS = (make_agent("a", (4, 4, 0)),)
    SESSIONS = (make_session(1, (9, 0, 0)), make_session(2, (4, 4, 0)))

    def test_groups_do_not_mix(self) -> None:
        # given: two groups with the same sessions, of which one has no agents
        planner = BestFitPlanner()
        one = make_data(self.AGENTS, self.SESSIONS)
        other = replace(make_data((), self.SESSIONS), scaling_group=replace(one.scaling_group, name="other"))
        begin(planner, one)
        begin(planner, other)
        # when / then
        for data in (one, other):
            after = made_next(data)
            made = planner.plan_changes(next_refresh(data, after))
            assert made.reason is None
            assert made.allocations == BestFitPlanner().plan(after)

    def test_nothing_is_tried_where_nothing_has_changed(self) -> None:
        planner, before = BestFitPlanner(), make_data((), self.SESSIONS)
        assert begin(planner, before).tried_sessions == 2
        assert planner.plan_changes(next_refresh(before, made_next(before))).tried_sessions == 0

    def test_nothing_is_kept_of_who_came_and_went_while_the_group_was_off(self) -> None:
        planner, data = BestFitPlanner(), make_data(self.AGENTS, ())
        data = replace(data, scaling_group=replace(data.scaling_group, is_active=False))
        begin(planner, data)
        for number in (1, 2, 3):
            after = made_next(data, pending_sessions=(make_session(number, (number, 0, 0)),))
            assert planner.plan_changes(next_refresh(data, after)).reason is None
            data = after
        (memory,) = planner._memories.values()
        assert len(memory._waiting.to_try) == len(memory) == 1

    def test_a_full_read_is_planned_from_and_forgotten(self) -> None:
        planner, before = BestFitPlanner(), make_data(self.AGENTS, self.SESSIONS)
        begin(planner, before)
        made = planner.plan_changes(first_refresh(made_next(before)))
        assert made.reason is FullPlanReason.FULL_READ
        assert not planner._memories

    def test_forgotten(self) -> None:
        planner, before = BestFitPlanner(), make_data(self.AGENTS, self.SESSIONS)
        begin(planner, before)
        planner.forget()
        made = planner.plan_changes(next_refresh(before, made_next(before)))
        assert made.reason is FullPlanReason.FIRST

    def test_changes_that_do_not_fit_are_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        # given: a session has left, and the changes do not say so
        planner, before = BestFitPlanner(), make_data(self.AGENTS, self.SESSIONS)
        begin(planner, before)
        after = made_next(before, pending_sessions=self.SESSIONS[1:])
        # when
        made = planner.plan_changes(Refresh(after, None, SnapshotChanges(), before.token, 0, 0))
        # then
        assert made.reason is FullPlanReason.MISFIT
        assert made.allocations == BestFitPlanner().plan(after)
        assert "does not fit what the planner remembers" in caplog.text

    def test_a_plan_that_fails_is_not_gone_on_from(self) -> None:
        # given: data whose owners are missing
        planner, before = BestFitPlanner(), make_data(self.AGENTS, self.SESSIONS)
        begin(planner, before)
        broken = made_next(before, pending_sessions=(*self.SESSIONS, make_session(3, (1, 0, 0))), users=())
        with pytest.raises(InvalidInput, match="is not in the scheduling data"):
            planner.plan_changes(next_refresh(before, broken))
        # when / then
        made = planner.plan_changes(next_refresh(before, made_next(before)))
        assert made.reason is FullPlanReason.FIRST
