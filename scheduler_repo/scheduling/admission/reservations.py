"""The gate of reservations: which of a batch may reserve capacity and end their victims, on locked rows.

Room is judged as it will be: what is ending on an agent, the victims with it, counts as given back, and what
is reserved for others as taken. An agent's kernels that do not end, and all that is reserved on it, therefore
fit on it together; allocations keep that so, as they see reserved capacity as taken.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Optional, Union

import msgspec

from scheduler_repo.entities.allocation import RejectedAllocation, SessionAllocation
from scheduler_repo.entities.reservation import (
    ProtectedVictim,
    RejectedReservation,
    ReservationRejectionCode,
    SessionReservation,
)
from scheduler_repo.entities.scheduling_data import (
    PendingSession,
    PreemptionCandidate,
    Reservation,
    ReservedKernel,
)
from scheduler_repo.scheduling.admission.allocations import LockedState, SessionChecks
from scheduler_repo.scheduling.rules.feasibility import NO_LOAD, Load, requests_by_agent, total_slots
from scheduler_repo.scheduling.rules.preemption import protection
from scheduler_repo.scheduling.rules.quota_accounts import OwnerLedger
from scheduler_repo.scheduling.rules.reservations import StandingReservations
from scheduler_repo.steps import Steps
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    DomainName,
    ProjectId,
    SessionId,
    SessionStatus,
    SlotVector,
    UserId,
)


class KernelClaim(msgspec.Struct, frozen=True):
    """The capacity that one kernel occupies on its agent, or is to occupy."""

    session_id: SessionId
    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName
    agent_id: AgentId
    slots: SlotVector


class ReservationState(msgspec.Struct, frozen=True):
    """The state that a batch of reservations is judged by, read under its locks.

    ``locked.data.preemption_candidates`` are its victims that run in the group. ``ending`` gives something
    back to the batch's agents or owners before long, ``reserved`` is reserved for its owners, in any group.
    """

    locked: LockedState
    ending: Sequence[KernelClaim]
    reserved: Sequence[KernelClaim]


class ReservationDecisions(msgspec.Struct):
    """The reservations that the gate accepts and rejects, in the order of the batch, and their victims."""

    accepted: list[SessionReservation] = []
    rejected: list[RejectedReservation] = []
    victims: list[SessionId] = []


def decide_reservations(
    reservations: Sequence[SessionReservation], state: ReservationState
) -> Steps[ReservationDecisions]:
    """Judge a batch in its order: what is reserved for an earlier session is not there for a later one.

    A victim ends for one session of the batch; what it gives back beyond that is there for the later ones.
    """
    decisions = ReservationDecisions()
    standing = yield from StandingReservations.of(state.locked.data.reservations)
    gate = _ReservationGate(state.locked, standing)
    yield from gate.count_claims(state)
    for reservation in reservations:
        rejection = gate.take(reservation)
        if rejection is None:
            decisions.accepted.append(reservation)
            decisions.victims.extend(dict.fromkeys(reservation.victims))
        else:
            decisions.rejected.append(rejection)
        yield
    return decisions


class _ReservationGate:
    def __init__(self, locked: LockedState, reservations: StandingReservations) -> None:
        self._data = locked.data
        self._sessions = locked.sessions
        self._blocked = locked.blocked_sessions
        self._checks = SessionChecks(locked)
        self._reservations = reservations
        self._running = {each.session_id: each for each in self._data.preemption_candidates}
        self._ending: dict[AgentId, Load] = {}
        self._ledger = OwnerLedger(self._data)

    def count_claims(self, state: ReservationState) -> Steps[None]:
        """Count the owners' usage once all that ends has ended and all that is reserved is placed."""
        counted: set[SessionId] = set()
        for claims, sign in ((state.ending, -1), (state.reserved, 1)):
            for claim in claims:
                sessions = 0 if claim.session_id in counted else sign
                counted.add(claim.session_id)
                self._ledger.charge(claim, tuple(sign * amount for amount in claim.slots), sessions)
                yield
        for claim in state.ending:
            before = self._ending.get(claim.agent_id, NO_LOAD)
            self._ending[claim.agent_id] = before.plus(Load(claim.slots, 1))
            yield

    def take(self, reservation: SessionReservation) -> Optional[RejectedReservation]:
        """Reserve the session's place and end its victims, or say what stands against it and do neither."""
        session = self._checks.find(SessionAllocation(reservation.session_id, reservation.kernels))
        if isinstance(session, RejectedAllocation):
            return _as_reservation(session)
        if session.session_id in self._reservations:
            return RejectedReservation(session.session_id, ReservationRejectionCode.ALREADY_RESERVED)
        victims: list[PreemptionCandidate] = []
        for victim_id in dict.fromkeys(reservation.victims):
            victim = self._victim(session, victim_id)
            if isinstance(victim, RejectedReservation):
                return victim
            victims.append(victim)
        self._count_ending(victims, 1)
        rejection = self._obstacle(session, reservation)
        if rejection is not None:
            self._count_ending(victims, -1)
            return rejection
        for victim in victims:
            del self._running[victim.session_id]
        self._ledger.charge(session, total_slots(kernel.requested_slots for kernel in session.kernels))
        slots_of = {kernel.kernel_id: kernel.requested_slots for kernel in session.kernels}
        kernels = tuple(
            ReservedKernel(kernel.kernel_id, kernel.agent_id, slots_of[kernel.kernel_id])
            for kernel in reservation.kernels
        )
        # The position is the database's to give; for those behind, every reservation counts alike.
        self._reservations.add(Reservation(session.session_id, 0, kernels))
        return None

    def _victim(
        self, session: PendingSession, victim_id: SessionId
    ) -> Union[PreemptionCandidate, RejectedReservation]:
        rejected = partial(RejectedReservation, session.session_id, victim_id=victim_id)
        blocked = self._blocked.get(victim_id)
        if blocked is not None:
            return rejected(code=ReservationRejectionCode.ROW_LOCKED, detail=blocked)
        locked = self._sessions.get(victim_id)
        if locked is None:
            return rejected(code=ReservationRejectionCode.VICTIM_UNKNOWN)
        if locked.scaling_group != self._data.scaling_group.name:
            return rejected(code=ReservationRejectionCode.VICTIM_OTHER_GROUP)
        if locked.unreadable is not None:
            return rejected(code=ReservationRejectionCode.UNKNOWN_WORD, detail=locked.unreadable)
        candidate = self._running.get(victim_id)
        if candidate is None:
            # One that an earlier session of the batch ends is as if it were ending already.
            running = locked.status is SessionStatus.RUNNING
            status = SessionStatus.TERMINATING if running else locked.status
            return rejected(code=ReservationRejectionCode.VICTIM_NOT_RUNNING, detail=status)
        protected_by = protection(session, candidate, self._data)
        if protected_by is not None:
            detail = ProtectedVictim(protected_by)
            return rejected(code=ReservationRejectionCode.VICTIM_PROTECTED, detail=detail)
        return candidate

    def _count_ending(self, victims: Iterable[PreemptionCandidate], sign: int) -> None:
        """Count what the victims give back, or with ``sign`` -1 take that back."""
        for victim in victims:
            given_back = total_slots(gain.slots for gain in victim.gains)
            self._ledger.charge(victim, tuple(-sign * amount for amount in given_back), -sign)
            for gain in victim.gains:
                load, before = Load(gain.slots, gain.container_count), self._ending.get(gain.agent_id, NO_LOAD)
                self._ending[gain.agent_id] = before.plus(load) if sign > 0 else before.minus(load)

    def _obstacle(
        self, session: PendingSession, reservation: SessionReservation
    ) -> Optional[RejectedReservation]:
        requested = total_slots(kernel.requested_slots for kernel in session.kernels)
        breach = self._ledger.breach(session, requested)
        if breach is not None:
            return RejectedReservation(session.session_id, ReservationRejectionCode.OWNER_LIMIT, detail=breach)
        rejection = self._checks.agents_obstacle(
            session,
            requests_by_agent(session, reservation.kernels),
            lambda agent_id: self._reservations.ahead_of(session.session_id, agent_id, None).minus(
                self._ending.get(agent_id, NO_LOAD)
            ),
        )
        return None if rejection is None else _as_reservation(rejection)


def _as_reservation(rejection: RejectedAllocation) -> RejectedReservation:
    code = ReservationRejectionCode(rejection.code.value)
    return RejectedReservation(rejection.session_id, code, agent_id=rejection.agent_id, detail=rejection.detail)
