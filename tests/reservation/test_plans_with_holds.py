"""Plans, reasons and the gate with reservations, against rules written down once more."""

from collections.abc import Sequence
from typing import Optional

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.scheduling_data import PendingSession, Reservation, SchedulingData
from scheduler_repo.scheduling.admission.allocations import LockedSession, LockedState, decide
from scheduler_repo.scheduling.explain.reasons import WaitingReason, waiting_reasons
from scheduler_repo.scheduling.explain.text import describe
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.snapshot.encoding import decode_scheduling_data, encode_scheduling_data
from scheduler_repo.steps import finish
from scheduler_repo.types import AgentId, ClusterMode, SessionId, SessionStatus
from tests.support.naive_cluster import NaiveCluster, are_alike
from tests.support.strategies import (
    AGENT_IDS,
    make_agent,
    make_data,
    make_reservation,
    make_session,
    reserved_scheduling_data,
)


class HeldCluster:
    """A naive cluster on which those who do not count for a session are taken off before it is asked."""

    def __init__(self, data: SchedulingData) -> None:
        self.data = data
        self.cluster = NaiveCluster(data)
        idle = [
            msgspec.structs.replace(agent, occupied=(), container_count=0, reserved=(), reserved_containers=0)
            for agent in data.agents
        ]
        self.idle = NaiveCluster(msgspec.structs.replace(data, agents=tuple(idle)))
        self.standing = {each.session_id: each for each in data.reservations}

    def hold_of(self, session: PendingSession) -> Optional[Reservation]:
        """Its reservation, if that names all of its kernels, on agents that take them when they are idle."""
        reservation = self.standing.get(session.session_id)
        if reservation is None or len(reservation.kernels) != len(session.kernels):
            return None
        if not {kernel.agent_id for kernel in reservation.kernels} <= self.cluster.occupied.keys():
            return None
        for agent_id in {kernel.agent_id for kernel in reservation.kernels}:
            kernels = [
                session.kernels[index]
                for index, held in enumerate(reservation.kernels)
                if held.agent_id == agent_id
            ]
            if agent_id not in [agent.agent_id for agent in self.idle.fitting(session, kernels)]:
                return None
        return reservation

    def others_ahead(self, session: PendingSession, *, on_hold: bool) -> list[Reservation]:
        """Whose holds count for a session: those reserved earlier, or all where it does not go to its own."""
        own = self.standing.get(session.session_id)
        return [
            each
            for each in self.standing.values()
            if each is not own and not (on_hold and own is not None and each.position > own.position)
        ]

    def fits(self, session: PendingSession, placed: Sequence[tuple[AgentId, int]], *, on_hold: bool) -> bool:
        """Whether kernels, by their place in the session, fit on agents beside what is ahead."""
        ahead = self.others_ahead(session, on_hold=on_hold)
        self._hold(ahead, 1)
        by_agent = {
            agent_id: [session.kernels[index] for other, index in placed if other == agent_id]
            for agent_id, _ in placed
        }
        fits = all(
            agent_id in [agent.agent_id for agent in self.cluster.fitting(session, kernels)]
            for agent_id, kernels in by_agent.items()
        )
        self._hold(ahead, -1)
        return fits

    def has_place(self, session: PendingSession, ended: Sequence[Reservation] = ()) -> bool:
        """Whether a session without a hold of all its kernels has a place anywhere, beside what is held.

        ``ended`` are reservations whose room is not to be counted on yet, though their sessions were placed.
        """
        ahead = [*self.standing.values(), *ended]
        self._hold(ahead, 1)
        found = self.cluster.has_joint_placement(session)
        self._hold(ahead, -1)
        return found

    def place(self, session: PendingSession, allocation: SessionAllocation) -> None:
        for kernel, placed in zip(session.kernels, allocation.kernels, strict=True):
            self.cluster.add(placed.agent_id, [kernel])
        self.cluster.charge(session)
        self.standing.pop(session.session_id, None)

    def _hold(self, reservations: Sequence[Reservation], sign: int) -> None:
        for reservation in reservations:
            for kernel in reservation.kernels:
                if kernel.agent_id in self.cluster.occupied:
                    self.cluster.add(kernel.agent_id, [kernel], sign)  # type: ignore[list-item] # a request


def on_its_hold(session: PendingSession, hold: Reservation) -> list[tuple[AgentId, int]]:
    return [(kernel.agent_id, index) for index, kernel in enumerate(hold.kernels)]


def agents_of(allocation: SessionAllocation) -> list[tuple[AgentId, int]]:
    return [(kernel.agent_id, index) for index, kernel in enumerate(allocation.kernels)]


class TestPlan:
    @given(reserved_scheduling_data())
    @settings(deadline=None)
    def test_replays_on_a_naive_cluster(self, data: SchedulingData) -> None:
        """Holders first, by position, each on its hold or not at all; then the queue, beside what is held."""
        plan = {allocation.session_id: allocation for allocation in BestFitPlanner().plan(data)}
        order = list(plan)
        replay = HeldCluster(data)
        pending = {session.session_id: session for session in data.pending_sessions}
        holders = [
            pending[each.session_id]
            for each in data.reservations
            if each.session_id in pending and replay.hold_of(pending[each.session_id]) is not None
        ]
        turns = [*holders, *(session for session in data.pending_sessions if session not in holders)]
        ended: list[Reservation] = []
        for session in turns:
            hold = replay.hold_of(session)
            allocation = plan.pop(session.session_id, None)
            held_back = replay.cluster.is_held_back(session)
            if hold is not None:
                may_go = not held_back and replay.fits(session, on_its_hold(session, hold), on_hold=True)
                assert (allocation is not None) == may_go
                event(f"holder placed: {may_go}")
            elif allocation is None and not held_back and are_alike(session):
                assert not replay.has_place(session, ended)
            if allocation is not None:
                assert not held_back
                assert replay.fits(session, agents_of(allocation), on_hold=hold is not None)
                if hold is None and session.session_id in replay.standing:
                    ended.append(replay.standing[session.session_id])
                replay.place(session, allocation)
        assert not plan
        assert order == [session.session_id for session in turns if session.session_id in order]

    def test_an_incomplete_hold_keeps_its_room_until_the_next_tick(self) -> None:
        """Within a plan capacity only shrinks, even where placing a session ends what was held for it."""
        # given the first session holds a place for one of its two kernels on the small agent
        requested = (1, 0, 0)
        first = make_session(
            1, requested, requested, cluster_mode=ClusterMode.MULTI_NODE, designated=(AGENT_IDS[1],)
        )
        second = make_session(2, requested)
        hold = make_reservation(first, 0, AGENT_IDS[0], AGENT_IDS[0])
        hold = msgspec.structs.replace(hold, kernels=hold.kernels[:1])
        small = msgspec.structs.replace(
            make_agent(AGENT_IDS[0], (1, 0, 0)), reserved=(1, 0, 0), reserved_containers=1
        )
        agents = (small, make_agent(AGENT_IDS[1], (2, 0, 0)))
        data = msgspec.structs.replace(make_data(agents, (first, second)), reservations=(hold,))
        # when
        plan = BestFitPlanner().plan(data)
        # then the second waits for the room that the first gives up by being placed
        assert [each.session_id for each in plan] == [first.session_id]

    @given(reserved_scheduling_data())
    @settings(deadline=None)
    def test_passes_the_gate(self, data: SchedulingData) -> None:
        # given
        plan = BestFitPlanner().plan(data)
        # when
        decisions = finish(decide(plan, locked(data)))
        # then
        assert decisions.rejected == []


class TestReasons:
    @given(reserved_scheduling_data())
    @settings(deadline=None)
    def test_of_holders_are_true(self, data: SchedulingData) -> None:
        judge = HeldCluster(data)
        for session, waiting in zip(data.pending_sessions, waiting_reasons(data), strict=True):
            text = describe(waiting, data)
            assert text.isprintable()
            hold = judge.hold_of(session)
            held_back = judge.cluster.is_held_back(session)
            if hold is None or held_back:
                assert waiting.reason is not WaitingReason.RESERVED
                if not held_back and waiting.reason is WaitingReason.PLACEABLE:
                    assert judge.has_place(session)
                elif not held_back and are_alike(session):
                    assert not judge.has_place(session)
            else:
                fits = judge.fits(session, on_its_hold(session, hold), on_hold=True)
                expected = WaitingReason.PLACEABLE if fits else WaitingReason.RESERVED
                assert waiting.reason is expected
                event(expected)


class TestGate:
    @given(reserved_scheduling_data(), st.data())
    @settings(deadline=None)
    def test_judges_by_position(self, data: SchedulingData, choices: st.DataObject) -> None:
        """Any order, each on its hold or anywhere else."""
        # given
        data = msgspec.structs.replace(
            data, scaling_group=msgspec.structs.replace(data.scaling_group, is_active=True)
        )
        batch: list[SessionAllocation] = []
        known = [agent.agent_id for agent in data.agents] or [AgentId("agent-gone")]
        replay = HeldCluster(data)
        for session in choices.draw(st.permutations(data.pending_sessions)):
            hold = replay.hold_of(session)
            if hold is not None and choices.draw(st.integers(0, 3)) > 0:
                agent_ids = [kernel.agent_id for kernel in hold.kernels]
            else:
                one = choices.draw(st.sampled_from(known))
                agent_ids = [one for _ in session.kernels]
            kernels = [
                KernelAllocation(kernel.kernel_id, agent_id)
                for kernel, agent_id in zip(session.kernels, agent_ids, strict=True)
            ]
            batch.append(SessionAllocation(session.session_id, tuple(kernels)))
        # when
        decisions = finish(decide(batch, locked(data)))
        # then
        accepted: list[SessionId] = []
        by_id = {session.session_id: session for session in data.pending_sessions}
        for allocation in batch:
            session = by_id[allocation.session_id]
            hold = replay.hold_of(session)
            placed = agents_of(allocation)
            on_hold = hold is not None and placed == on_its_hold(session, hold)
            if not is_barred(replay, session) and replay.fits(session, placed, on_hold=on_hold):
                replay.place(session, allocation)
                accepted.append(session.session_id)
                event(f"accepted, on its hold: {on_hold}")
        assert [allocation.session_id for allocation in decisions.accepted] == accepted


class TestEncoding:
    @given(reserved_scheduling_data())
    @settings(deadline=None)
    def test_what_was_encoded_comes_back(self, data: SchedulingData) -> None:
        assert finish(decode_scheduling_data(finish(encode_scheduling_data(data)))) == data


def is_barred(replay: HeldCluster, session: PendingSession) -> bool:
    """What keeps it back at the gate, which knows of no slot types: a slot that no agent has is a shortage."""
    unlimited = msgspec.structs.replace(
        session,
        kernels=tuple(
            msgspec.structs.replace(kernel, requested_slots=kernel.requested_slots[:3])
            for kernel in session.kernels
        ),
    )
    return replay.cluster.is_held_back(unlimited)


def locked(data: SchedulingData) -> LockedState:
    group = data.scaling_group.name
    sessions = {
        each.session_id: LockedSession(group, SessionStatus.PENDING, 0) for each in data.pending_sessions
    }
    return LockedState(data, sessions, frozenset(agent.agent_id for agent in data.agents))
