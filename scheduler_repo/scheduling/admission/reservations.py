"""The gate of reservations: which of a batch may hold capacity and have their victims ended, on locked rows.

Room is judged as it will be: what is ending on an agent, the victims with it, counts as given back, and what
other reservations hold as taken. An agent's kernels that do not end, and all that is held on it, therefore fit
on it together; allocations keep that so, as they see held capacity as taken.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    AnyOwnerUsage,
    PendingSession,
    PreemptionCandidate,
    Reservation,
    ReservedKernel,
    SchedulableAgent,
    SchedulingData,
)
from scheduler_repo.scheduling.admission.allocations import LockedState, Room, SessionChecks
from scheduler_repo.scheduling.rules.feasibility import free_slots, requests_by_agent, total_slots
from scheduler_repo.scheduling.rules.preemption import protection
from scheduler_repo.scheduling.rules.quota_accounts import OwnerLedger
from scheduler_repo.scheduling.rules.reservations import NOTHING_HELD, Held, StandingReservations
from scheduler_repo.types import (
    OWNER_FIELDS,
    AccessKey,
    AgentId,
    DomainName,
    OwnerScope,
    ProjectId,
    SessionId,
    SessionStatus,
    SlotVector,
    UserId,
    owner_ids,
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

    ``locked.data.preemption_candidates`` are its victims that run in the group. ``ending`` is what gives
    something back to the batch's agents or owners before long, ``held`` what is held for its owners, in any
    group.
    """

    locked: LockedState
    ending: Sequence[KernelClaim]
    held: Sequence[KernelClaim]


_Owned = Union[PendingSession, PreemptionCandidate, KernelClaim]


class ReservationDecisions(msgspec.Struct):
    """The reservations that the gate accepts and rejects, in the order of the batch, and their victims."""

    accepted: list[SessionReservation] = []
    rejected: list[RejectedReservation] = []
    victims: list[SessionId] = []


def decide_reservations(
    reservations: Sequence[SessionReservation], state: ReservationState
) -> ReservationDecisions:
    """Judge a batch in its order: what is held for an earlier session is not there for a later one.

    A victim ends for one session of the batch; what it gives back beyond that is there for the later ones.
    """
    gate = _ReservationGate(state)
    for reservation in reservations:
        gate.judge(reservation)
    return gate.decisions


class _ReservationGate:
    def __init__(self, state: ReservationState) -> None:
        self._data = state.locked.data
        self._sessions = state.locked.sessions
        self._checks = SessionChecks(state.locked)
        self._reservations = StandingReservations(self._data.reservations)
        self._owners = _owners_to_come(state)
        self._running = {each.session_id: each for each in self._data.preemption_candidates}
        self._ending: Mapping[AgentId, Held] = _ending_by_agent(state.ending)
        self.decisions = ReservationDecisions()

    def judge(self, reservation: SessionReservation) -> None:
        rejection = self._rejection(reservation)
        if rejection is None:
            self.decisions.accepted.append(reservation)
        else:
            self.decisions.rejected.append(rejection)

    def _rejection(self, reservation: SessionReservation) -> Optional[RejectedReservation]:
        allocation = SessionAllocation(reservation.session_id, reservation.kernels)
        session = self._checks.find(allocation)
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
        return self._take(session, reservation, victims)

    def _victim(
        self, session: PendingSession, victim_id: SessionId
    ) -> Union[PreemptionCandidate, RejectedReservation]:
        def rejected(
            code: ReservationRejectionCode, detail: Union[SessionStatus, ProtectedVictim, None] = None
        ) -> RejectedReservation:
            return RejectedReservation(session.session_id, code, victim_id=victim_id, detail=detail)

        locked = self._sessions.get(victim_id)
        if locked is None:
            return rejected(ReservationRejectionCode.VICTIM_UNKNOWN)
        if locked.scaling_group != self._data.scaling_group.name:
            return rejected(ReservationRejectionCode.VICTIM_OTHER_GROUP)
        candidate = self._running.get(victim_id)
        if candidate is None:
            # One that an earlier session of the batch ends is as if it were ending already.
            running = locked.status is SessionStatus.RUNNING
            status = SessionStatus.TERMINATING if running else locked.status
            return rejected(ReservationRejectionCode.VICTIM_NOT_RUNNING, status)
        protected_by = protection(session, candidate, self._data)
        if protected_by is not None:
            return rejected(ReservationRejectionCode.VICTIM_PROTECTED, ProtectedVictim(protected_by))
        return candidate

    def _take(
        self, session: PendingSession, reservation: SessionReservation, victims: Sequence[PreemptionCandidate]
    ) -> Optional[RejectedReservation]:
        """Hold the session's place and end its victims, or say what stands against it and do neither."""
        requested = total_slots(kernel.requested_slots for kernel in session.kernels)
        owners = self._owners.without(victims)
        breach = owners.ledger_of(session).breach(session, requested)
        if breach is not None:
            return RejectedReservation(session.session_id, ReservationRejectionCode.OWNER_LIMIT, detail=breach)
        ending = _with_gains(self._ending, victims)
        placed = [(kernel.kernel_id, kernel.agent_id) for kernel in reservation.kernels]
        rejection = self._checks.agents_obstacle(
            session, requests_by_agent(session, placed), self._room_to_come(session, ending)
        )
        if rejection is not None:
            return _as_reservation(rejection)
        owners.add(session, requested, 1)
        self._owners = owners
        self._ending = ending
        self._hold(session, reservation)
        for victim in victims:
            del self._running[victim.session_id]
            self.decisions.victims.append(victim.session_id)
        return None

    def _room_to_come(
        self, session: PendingSession, ending: Mapping[AgentId, Held]
    ) -> Callable[[SchedulableAgent], Room]:
        def room_on(agent: SchedulableAgent) -> Room:
            given_back = ending.get(agent.agent_id, NOTHING_HELD)
            held = self._reservations.ahead_of(session.session_id, agent.agent_id, None)
            free = free_slots(
                total_slots((agent.capacity, given_back.slots)), total_slots((agent.occupied, held.slots))
            )
            return free, agent.container_count - given_back.containers + held.containers

        return room_on

    def _hold(self, session: PendingSession, reservation: SessionReservation) -> None:
        slots_of = {kernel.kernel_id: kernel.requested_slots for kernel in session.kernels}
        kernels = tuple(
            ReservedKernel(kernel.kernel_id, kernel.agent_id, slots_of[kernel.kernel_id])
            for kernel in reservation.kernels
        )
        # The position is the database's to give; for those behind, every hold counts alike.
        self._reservations.add(Reservation(session.session_id, 0, kernels))


class _OwnersToCome:
    """The usage of the batch's owners once all that ends has ended and all that is reserved is placed."""

    def __init__(self, data: SchedulingData) -> None:
        self._data = data
        self._usages: list[dict[object, AnyOwnerUsage]] = [
            {usage.owner_id: usage for usage in data.owners_of(scope)} for scope in OwnerScope
        ]

    def add(self, owned: _Owned, slots: SlotVector, sessions: int) -> None:
        """Add to its four owners what a session or kernel will occupy, or take it from them."""
        for usages, owner_id in zip(self._usages, owner_ids(owned), strict=True):
            usage = usages.get(owner_id)
            if usage is not None:
                usages[owner_id] = msgspec.structs.replace(
                    usage,
                    occupied=total_slots((usage.occupied, slots)),
                    session_count=usage.session_count + sessions,
                )

    def without(self, victims: Iterable[PreemptionCandidate]) -> "_OwnersToCome":
        """Return the owners as they will be if these end too."""
        owners = _OwnersToCome(self._data)
        owners._usages = [usages.copy() for usages in self._usages]
        for victim in victims:
            owners.add(victim, _negative(total_slots(gain.slots for gain in victim.gains)), -1)
        return owners

    def ledger_of(self, session: PendingSession) -> OwnerLedger:
        """Return the accounts of one pending session's owners."""
        owners = zip(OWNER_FIELDS.values(), self._usages, owner_ids(session), strict=True)
        own = {fields.several: (usages[owner_id],) for fields, usages, owner_id in owners}
        return OwnerLedger(msgspec.structs.replace(self._data, **own))


def _owners_to_come(state: ReservationState) -> _OwnersToCome:
    owners = _OwnersToCome(state.locked.data)
    counted: set[SessionId] = set()
    for claims, sign in ((state.ending, -1), (state.held, 1)):
        for claim in claims:
            sessions = 0 if claim.session_id in counted else sign
            counted.add(claim.session_id)
            owners.add(claim, claim.slots if sign > 0 else _negative(claim.slots), sessions)
    return owners


def _negative(slots: SlotVector) -> SlotVector:
    return tuple(-amount for amount in slots)


def _ending_by_agent(claims: Iterable[KernelClaim]) -> dict[AgentId, Held]:
    ending: dict[AgentId, Held] = {}
    for claim in claims:
        _add_held(ending, claim.agent_id, Held(claim.slots, 1))
    return ending


def _with_gains(
    ending: Mapping[AgentId, Held], victims: Iterable[PreemptionCandidate]
) -> Mapping[AgentId, Held]:
    more = dict(ending)
    for victim in victims:
        for gain in victim.gains:
            _add_held(more, gain.agent_id, Held(gain.slots, gain.container_count))
    return more


def _add_held(by_agent: dict[AgentId, Held], agent_id: AgentId, held: Held) -> None:
    before = by_agent.get(agent_id, NOTHING_HELD)
    by_agent[agent_id] = Held(total_slots((before.slots, held.slots)), before.containers + held.containers)


def _as_reservation(rejection: RejectedAllocation) -> RejectedReservation:
    code = ReservationRejectionCode(rejection.code.value)
    return RejectedReservation(rejection.session_id, code, agent_id=rejection.agent_id, detail=rejection.detail)
