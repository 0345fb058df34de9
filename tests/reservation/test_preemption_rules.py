"""Who may preempt whom, against the rules written down once more, as plainly as can be."""

from datetime import datetime, timedelta
from typing import Optional

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from scheduler_repo.entities.obstacles import Protection
from scheduler_repo.entities.scheduling_data import PendingSession, PreemptionCandidate, SchedulingData
from scheduler_repo.scheduling.rules.preemption import may_preempt, preemptible, protection
from scheduler_repo.types import PreemptionScope
from tests.support.strategies import OBSERVED_AT, make_candidate, make_data, make_session

MICROSECOND = timedelta(microseconds=1)
owner_choices = st.tuples(*[st.integers(0, 1)] * 4)
runtimes = st.sampled_from([timedelta(), MICROSECOND, timedelta(hours=1), timedelta(hours=1) + MICROSECOND])
priorities = st.integers(-2, 2)


def naive(
    scope: Optional[PreemptionScope],
    min_runtime: timedelta,
    session: PendingSession,
    candidate: PreemptionCandidate,
    now: datetime,
) -> bool:
    same = {
        None: [],
        PreemptionScope.USER: [session.user_id == candidate.user_id],
        PreemptionScope.PROJECT: [session.project_id == candidate.project_id],
        PreemptionScope.DOMAIN: [session.domain_name == candidate.domain_name],
        PreemptionScope.GROUP: [True],
    }[scope]
    return any(same) and session.priority > candidate.priority and candidate.running_since + min_runtime <= now


@st.composite
def contests(draw: st.DrawFn) -> SchedulingData:
    """One that waits and some that run, at times about the shortest runtime."""
    session = msgspec.structs.replace(
        make_session(1, (1, 1, 1), owners=draw(owner_choices)),
        priority=draw(priorities),
    )
    candidates = [
        make_candidate(number, draw(owner_choices), draw(priorities), OBSERVED_AT - draw(runtimes))
        for number in range(10, 10 + draw(st.integers(0, 5)))
    ]
    return make_data(
        (),
        (session,),
        preemption_scope=draw(st.none() | st.sampled_from(PreemptionScope)),
        preemption_min_runtime=draw(runtimes),
        preemption_candidates=tuple(candidates),
    )


class TestRules:
    @given(contests())
    def test_are_the_plain_ones(self, data: SchedulingData) -> None:
        # given
        (session,) = data.pending_sessions
        group = data.scaling_group
        allowed = tuple(
            each
            for each in data.preemption_candidates
            if naive(group.preemption_scope, group.preemption_min_runtime, session, each, data.observed_at)
        )
        # when / then
        for each in data.preemption_candidates:
            assert may_preempt(session, each, data) == (each in allowed)
            event(f"{protection(session, each, data)}")
        assert preemptible(session, data) == allowed

    @pytest.mark.parametrize(
        ("scope", "owners", "priority", "ran_for", "expected"),
        [
            (None, (0, 0, 0, 0), 9, 60, Protection.PREEMPTION_OFF),
            (PreemptionScope.GROUP, (1, 1, 1, 1), 9, 60, None),
            (PreemptionScope.GROUP, (1, 1, 1, 1), 10, 60, Protection.PRIORITY),
            (PreemptionScope.GROUP, (1, 1, 1, 1), 9, 59, Protection.MIN_RUNTIME),
            (PreemptionScope.USER, (1, 0, 1, 1), 9, 60, None),
            (PreemptionScope.USER, (0, 1, 0, 0), 9, 60, Protection.OTHER_OWNER),
            (PreemptionScope.PROJECT, (1, 1, 0, 1), 9, 60, None),
            (PreemptionScope.PROJECT, (0, 0, 1, 0), 9, 60, Protection.OTHER_OWNER),
            (PreemptionScope.DOMAIN, (1, 1, 1, 0), 9, 60, None),
            (PreemptionScope.DOMAIN, (0, 0, 0, 1), 9, 60, Protection.OTHER_OWNER),
        ],
    )
    def test_each_protection(
        self,
        scope: Optional[PreemptionScope],
        owners: tuple[int, int, int, int],
        priority: int,
        ran_for: int,
        expected: Optional[Protection],
    ) -> None:
        # given: one that waits with priority 10, and a shortest runtime of a minute
        session = make_session(1, (1, 1, 1))
        candidate = make_candidate(2, owners, priority, OBSERVED_AT - timedelta(seconds=ran_for))
        data = make_data((), (session,), preemption_scope=scope, preemption_min_runtime=timedelta(minutes=1))
        # when / then
        assert protection(session, candidate, data) is expected
