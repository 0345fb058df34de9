"""Every figure of an explanation is true: checked against a naive oracle, agent by agent and owner by owner."""

from datetime import timedelta
from typing import Optional
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_repo.entities.obstacles import OwnerBreach, QuotaKind
from scheduler_repo.entities.scheduling_data import PendingSession, Reservation, SchedulingData
from scheduler_repo.errors import InvalidInput, SessionNotFound
from scheduler_repo.scheduling.explain.reasons import NodeShortage, WaitingReason, waiting_reasons
from scheduler_repo.scheduling.explain.session import LimitCheck, NodeFit, SessionExplanation, explain_session
from scheduler_repo.scheduling.explain.text import explanation_tables, queue_facts, reason_facts
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import ClusterMode, SessionId, SessionResult, SessionStatus
from tests.scheduling.waiting_oracle import Oracle
from tests.support.naive_cluster import KernelGroup, NaiveCluster, NaiveOwner, are_alike, groups_of, slot
from tests.support.strategies import (
    ACCESS_KEYS,
    AGENT_IDS,
    OBSERVED_AT,
    USERS,
    make_agent,
    make_data,
    make_session,
    make_usage,
    reserved_scheduling_data,
    scheduling_data,
)

QUOTA_REASONS = {
    QuotaKind.KERNELS_PER_SESSION: WaitingReason.TOO_MANY_KERNELS,
    QuotaKind.CONCURRENT_SESSIONS: WaitingReason.SESSION_QUOTA,
    QuotaKind.SLOT: WaitingReason.SLOT_QUOTA,
}
ORDER = list(WaitingReason)


@st.composite
def contended_data(draw: st.DrawFn) -> SchedulingData:
    """One or two empty agents and a queue for more than they have, which hardly anything else holds back."""
    room, wish = st.integers(2, 6), st.integers(0, 3)
    agents = tuple(
        make_agent(agent_id, draw(st.tuples(room, room, room)), max_containers=draw(st.none() | room))
        for agent_id in AGENT_IDS[: draw(st.integers(1, 2))]
    )
    requests = st.lists(st.tuples(wish, wish, wish), min_size=1, max_size=2)
    sessions = tuple(
        make_session(number, *draw(requests), cluster_mode=draw(st.sampled_from(ClusterMode)))
        for number in range(1, draw(st.integers(2, 7)))
    )
    usage = make_usage(
        ACCESS_KEYS[0],
        slot_limits=draw(st.just(()) | st.tuples(st.integers(4, 8))),
        max_concurrent_sessions=draw(st.none() | st.integers(1, 5)),
    )
    return make_data(agents, sessions, access_keys=(usage,))


def is_placement(data: SchedulingData, session: PendingSession, reservation: Reservation) -> bool:
    """Whether a reservation names all kernels of its session, and agents that could take them if empty."""
    agent_of = {kernel.kernel_id: kernel.agent_id for kernel in reservation.kernels}
    if agent_of.keys() != {kernel.kernel_id for kernel in session.kernels}:
        return False
    cluster = NaiveCluster(data)
    for agent_id in {*agent_of.values()}:
        kernels = [kernel for kernel in session.kernels if agent_of[kernel.kernel_id] == agent_id]
        eligible = {agent.agent_id: agent for agent in cluster.eligible(session, kernels)}
        if agent_id not in eligible or not cluster.holds(eligible[agent_id], kernels, empty=True):
            return False
    return True


def placed_before(data: SchedulingData, session: PendingSession) -> list[PendingSession]:
    """The sessions that a plan of the whole queue places before it comes to this one."""
    placed = {allocation.session_id for allocation in BestFitPlanner().plan(data)}
    pending = {each.session_id: each for each in data.pending_sessions}
    holders = [
        pending[reservation.session_id]
        for reservation in data.reservations
        if reservation.session_id in pending
        and is_placement(data, pending[reservation.session_id], reservation)
    ]
    in_turn = [*holders, *(each for each in data.pending_sessions if each not in holders)]
    return [each for each in in_turn[: in_turn.index(session)] if each.session_id in placed]


class TestFigures:
    @given(scheduling_data() | reserved_scheduling_data())
    @settings(deadline=None)
    def test_the_reason_is_that_of_the_whole_queue(self, data: SchedulingData) -> None:
        for session, waiting in zip(data.pending_sessions, waiting_reasons(data), strict=True):
            assert explain_session(data, session.session_id).waiting == waiting

    @given(scheduling_data())
    @settings(deadline=None)
    def test_agents_are_counted_for_each_request(self, data: SchedulingData) -> None:
        cluster = NaiveCluster(data)
        for session in data.pending_sessions:
            explanation = explain_session(data, session.session_id)
            assert explanation.agent_count == len(data.agents)
            named = [index for node in explanation.nodes for index in node.kernel_indexes]
            assert sorted(named) == [kernel.kernel_index for kernel in session.kernels]
            for group in groups_of(session):
                (node,) = [each for each in explanation.nodes if group[0].kernel_index in each.kernel_indexes]
                assert {kernel.kernel_index for kernel in group} <= set(node.kernel_indexes)
                self._check_node(cluster, session, group, node)

    @given(scheduling_data())
    @settings(deadline=None)
    def test_each_limit_of_each_owner_is_judged(self, data: SchedulingData) -> None:
        cluster = NaiveCluster(data)
        for session in data.pending_sessions:
            explanation = explain_session(data, session.session_id)
            owners = cluster.owners_of(session)
            for check, owner in zip(explanation.owners, owners, strict=True):
                assert (check.scope.value, check.owner_id) == (owner.scope, owner.owner_id)
                assert list(check.limits) == self._limits(session, owner)
            broken = {
                QUOTA_REASONS[limit.kind]
                for check in explanation.owners
                for limit in check.limits
                if not limit.passes
            }
            first_broken = min(broken, key=ORDER.index, default=None)
            reason = explanation.waiting.reason
            if reason in QUOTA_REASONS.values():
                assert reason is first_broken
            elif ORDER.index(reason) > ORDER.index(WaitingReason.SLOT_QUOTA):
                assert first_broken is None

    @given(scheduling_data())
    @settings(deadline=None)
    def test_dependencies_designation_and_place(self, data: SchedulingData) -> None:
        for position, session in enumerate(data.pending_sessions):
            explanation = explain_session(data, session.session_id)
            found = [
                (each.depends_on, each.status, each.result, each.is_met, each.can_be_met)
                for each in explanation.dependencies
            ]
            succeeded = (SessionStatus.TERMINATED, SessionResult.SUCCESS)
            under_way = list(SessionStatus)[:5]
            assert found == [
                (
                    each.depends_on,
                    each.status,
                    each.result,
                    (each.status, each.result) == succeeded,
                    (each.status, each.result) == succeeded or each.status in under_way,
                )
                for each in session.dependencies
            ]
            here = [agent.agent_id for agent in data.agents]
            assert {each.agent_id: each.takes_kernels for each in explanation.designated_agents} == {
                agent_id: agent_id in here for agent_id in session.designated_agent_ids
            }
            place = explanation.place
            assert (place.rank, place.pending_count) == (position + 1, len(data.pending_sessions))
            assert (place.priority, place.created_at) == (session.priority, session.created_at)
            assert place.age == timedelta(hours=1)
            assert place.requested_start_at == session.requested_start_at
            assert place.is_start_reached == ((session.requested_start_at or OBSERVED_AT) <= OBSERVED_AT)

    @given(scheduling_data() | contended_data() | reserved_scheduling_data())
    @settings(deadline=None)
    def test_the_turn_is_that_of_a_plan_of_the_whole_queue(self, data: SchedulingData) -> None:
        plan = {allocation.session_id: allocation for allocation in BestFitPlanner().plan(data)}
        for session in data.pending_sessions:
            explanation = explain_session(data, session.session_id)
            turn = explanation.turn
            assert (turn is not None) == (explanation.waiting.reason is WaitingReason.PLACEABLE)
            if turn is None:
                # what a plan places, it places with others before it; what it cannot hold alone it never does
                assert session.session_id not in plan or not are_alike(session)
                continue
            assert turn.placed_before == len(placed_before(data, session))
            assert turn.allocation == plan.get(session.session_id)
            assert (turn.lacks is None) == (turn.allocation is not None)
            if turn.lacks is not None and are_alike(session):
                assert turn.lacks.reason is not WaitingReason.PLACEABLE

    @given(scheduling_data() | contended_data())
    @settings(deadline=None)
    def test_what_it_lacks_is_what_those_ahead_have_taken(self, data: SchedulingData) -> None:
        agent_of = {
            kernel.kernel_id: kernel.agent_id
            for allocation in BestFitPlanner().plan(data)
            for kernel in allocation.kernels
        }
        for session in data.pending_sessions:
            turn = explain_session(data, session.session_id).turn
            if turn is None or turn.lacks is None:
                continue
            oracle = Oracle(data, session)
            for other in placed_before(data, session):
                oracle.cluster.charge(other)
                for kernel in other.kernels:
                    oracle.cluster.add(agent_of[kernel.kernel_id], [kernel])
            expected = oracle.first_reason()
            if expected is None:
                assert turn.lacks.reason in (
                    WaitingReason.KERNELS_DO_NOT_FIT_TOGETHER,
                    WaitingReason.PLACEABLE,
                )
                assert not (are_alike(session) and oracle.cluster.has_joint_placement(session))
                continue
            assert turn.lacks.reason is expected
            detail = turn.lacks.detail
            if isinstance(detail, NodeShortage):
                self._check_shortage(oracle.cluster, session, turn.lacks.kernel_index, detail)
            else:
                assert isinstance(detail, OwnerBreach)
                (owner,) = [each for each in oracle.owners if each.scope == detail.scope.value]
                index = detail.breach.slot_index
                assert detail.breach.used == (owner.session_count if index is None else owner.occupied[index])

    @given(scheduling_data())
    @settings(deadline=None)
    def test_it_is_worded_line_by_line_and_survives_encoding(self, data: SchedulingData) -> None:
        for session in data.pending_sessions:
            explanation = explain_session(data, session.session_id)
            encoded = msgspec.json.encode(explanation)
            assert msgspec.json.decode(encoded, type=SessionExplanation) == explanation
            tables = explanation_tables(explanation)
            facts = (*reason_facts(explanation, data), *queue_facts(explanation, data))
            cells = [cell for fact in facts for cell in fact]
            for table in tables:
                assert all(len(row) == len(table.columns) for row in table.rows)
                cells += [table.title, *(cell for row in table.rows for cell in row)]
            assert all(cell.isprintable() for cell in cells)

    def _check_node(
        self, cluster: NaiveCluster, session: PendingSession, group: KernelGroup, node: NodeFit
    ) -> None:
        eligible = cluster.eligible(session, group)
        assert node.agents_in_question == len(eligible)
        assert node.fitting_agents == len(cluster.fitting(session, group))
        requested = {i: sum(slot(kernel.requested_slots, i) for kernel in group) for i in range(4)}
        *slots, containers = node.resources
        assert [(each.slot_index, each.requested) for each in slots] == [
            (index, amount) for index, amount in requested.items() if amount
        ]
        for each in slots:
            index = each.slot_index
            assert index is not None
            free = {
                agent.agent_id: slot(agent.capacity, index) - cluster.occupied[agent.agent_id].get(index, 0)
                for agent in eligible
            }
            assert each.fitting_agents == sum(amount >= each.requested for amount in free.values())
            best = max(free.values(), default=None)
            assert each.most_free == best
            assert each.best_agent_id == next((name for name in free if free[name] == best), None)
            assert each.missing == max(each.requested - (best or 0), 0)
        limits = {
            agent.agent_id: None
            if agent.max_containers is None
            else agent.max_containers - agent.container_count
            for agent in eligible
        }
        assert (containers.slot_index, containers.requested) == (None, len(group))
        rooms = {name: 1_000 if room is None else room for name, room in limits.items()}
        most = max(rooms.values(), default=None)
        assert containers.fitting_agents == sum(room >= len(group) for room in rooms.values())
        assert containers.best_agent_id == next((name for name in rooms if rooms[name] == most), None)
        assert containers.most_free == (None if most == 1_000 else most)
        assert containers.missing == max(len(group) - (most or 0), 0)

    def _limits(self, session: PendingSession, owner: NaiveOwner) -> list[LimitCheck]:
        limits = []
        if owner.max_kernels is not None:
            count = len(session.kernels)
            passes = not owner.has_too_many_kernels(session)
            limits.append(LimitCheck(QuotaKind.KERNELS_PER_SESSION, None, 0, count, owner.max_kernels, passes))
        if owner.max_sessions is not None:
            passes = not owner.has_too_many_sessions()
            used = owner.session_count
            limits.append(LimitCheck(QuotaKind.CONCURRENT_SESSIONS, None, used, 1, owner.max_sessions, passes))
        above = owner.slots_above_limit(session)
        for index, limit in owner.slot_limits.items():
            requested = sum(slot(kernel.requested_slots, index) for kernel in session.kernels)
            used = owner.occupied.get(index, 0)
            limits.append(LimitCheck(QuotaKind.SLOT, index, used, requested, limit, index not in above))
        return limits

    def _check_shortage(
        self, cluster: NaiveCluster, session: PendingSession, kernel_index: Optional[int], detail: NodeShortage
    ) -> None:
        kernels = [each for each in session.kernels if kernel_index in (None, each.kernel_index)]
        eligible = cluster.eligible(session, kernels)
        for each in detail.slots:
            assert each.available == max(
                slot(agent.capacity, each.slot_index) - cluster.occupied[agent.agent_id].get(each.slot_index, 0)
                for agent in eligible
            )


class TestRefusals:
    @pytest.mark.parametrize("pending_limit", [None, 1])
    def test_a_session_that_is_not_there(self, pending_limit: Optional[int]) -> None:
        # Given
        data = make_data((), (make_session(1, (1, 1)),))
        data = msgspec.structs.replace(data, pending_limit=pending_limit)

        # When
        with pytest.raises(SessionNotFound) as caught:
            explain_session(data, SessionId(UUID(int=2)))

        # Then
        assert str(UUID(int=2)) in str(caught.value)
        assert "'gpu-pool'" in str(caught.value)
        assert ("of which the first 1 were read" in str(caught.value)) == (pending_limit == 1)

    @pytest.mark.parametrize("is_active", [True, False])
    def test_an_owner_that_is_missing(self, is_active: bool) -> None:
        users = (make_usage(USERS[1]),)
        data = make_data((), (make_session(1, (1, 1)),), users=users, is_active=is_active)
        with pytest.raises(InvalidInput, match=f"owner USER {USERS[0]} is not in the scheduling data"):
            explain_session(data, SessionId(UUID(int=1)))
