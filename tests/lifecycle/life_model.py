"""What sessions, agents and quotas must be like after each change: plain Python beside the database."""

from collections.abc import Mapping, Sequence
from typing import Final, Optional

import msgspec

from scheduler_repo.entities.allocation import RejectionCode
from scheduler_repo.entities.lifecycle import TransitionRejectionCode
from scheduler_repo.entities.transitions import SESSION_TRANSITIONS, is_allowed
from scheduler_repo.types import OCCUPYING_STATUSES, SessionStatus

# (cores, memory)
Amounts = tuple[int, int]
Rejections = list[tuple[int, str]]


# Of a session that prepares, not every agent may have been told.
_UNDISPATCHED = (SessionStatus.SCHEDULED, SessionStatus.PREPARING)


class Outcome(msgspec.Struct):
    """What a batch must answer: session numbers, in the order given."""

    changed: list[int] = []
    rejected: Rejections = []


class ModelAgent(msgspec.Struct, frozen=True):
    """What an agent has."""

    capacity: Amounts
    max_containers: Optional[int] = None


class ModelKernel(msgspec.Struct):
    """Where a kernel is, and what it occupies there, or did when it ended."""

    requested: Amounts
    agent: Optional[str] = None
    occupied: Amounts = (0, 0)


class ModelSession(msgspec.Struct):
    """A session with its past."""

    kernels: list[ModelKernel]
    status: SessionStatus = SessionStatus.PENDING
    retry_count: int = 0
    failed_agents: set[str] = set()
    is_dispatched: bool = False
    is_old: bool = False
    result: Optional[str] = None
    history: tuple[tuple[Optional[str], str], ...] = ((None, "PENDING"),)


def add(amounts: Sequence[Amounts]) -> Amounts:
    return sum(cores for cores, _ in amounts), sum(memory for _, memory in amounts)


def exceeds(amounts: Amounts, limit: Amounts) -> bool:
    return any(amount > most for amount, most in zip(amounts, limit, strict=True))


class LifeModel:
    """Sessions by number, agents by name, and the limits of the one owner of all sessions."""

    def __init__(
        self,
        agents: Mapping[str, ModelAgent],
        requests: Sequence[Sequence[int]],
        *,
        core_limit: int,
        session_limit: int,
    ) -> None:
        self.agents: Final = agents
        self.core_limit: Final = core_limit
        self.session_limit: Final = session_limit
        self.sessions = [ModelSession([ModelKernel((cores, 1)) for cores in each]) for each in requests]

    def on_agent(self, name: str) -> list[Amounts]:
        """What each kernel on an agent occupies."""
        return [
            kernel.occupied
            for session in self._occupying()
            for kernel in session.kernels
            if kernel.agent == name
        ]

    def allocate(self, placements: Sequence[tuple[int, Sequence[str]]]) -> Outcome:
        outcome = Outcome()
        seen: set[int] = set()
        for number, names in placements:
            code = RejectionCode.DUPLICATE if number in seen else self._obstacle(number, names)
            seen.add(number)
            if code is not None:
                outcome.rejected.append((number, code))
                continue
            session = self.sessions[number]
            for kernel, name in zip(session.kernels, names, strict=True):
                kernel.agent, kernel.occupied = name, kernel.requested
            self._move(session, SessionStatus.SCHEDULED)
            outcome.changed.append(number)
        return outcome

    def mark(self, to_status: SessionStatus, numbers: Sequence[int], result: Optional[str] = None) -> Outcome:
        outcome = Outcome()
        for number in numbers:
            if self._may_move(outcome, number, to_status):
                self._move(self.sessions[number], to_status)
                self.sessions[number].result = result
        return outcome

    def run(self, starts: Sequence[tuple[int, Mapping[int, Amounts]]]) -> Outcome:
        """Start sessions; what kernels occupy is given by their index."""
        outcome = Outcome()
        for number, occupied in starts:
            if not self._may_move(outcome, number, SessionStatus.RUNNING):
                continue
            kernels = self.sessions[number].kernels
            if any(exceeds(amounts, kernels[index].requested) for index, amounts in occupied.items()):
                outcome.changed.remove(number)
                outcome.rejected.append((number, TransitionRejectionCode.ABOVE_REQUEST))
                continue
            for index, amounts in occupied.items():
                kernels[index].occupied = amounts
            self._move(self.sessions[number], SessionStatus.RUNNING)
        return outcome

    def requeue(self, retries: Sequence[tuple[int, Sequence[str]]]) -> Outcome:
        outcome = Outcome()
        for number, failed_agents in retries:
            if self._may_move(outcome, number, SessionStatus.PENDING):
                session = self.sessions[number]
                session.retry_count += 1
                session.failed_agents = session.failed_agents | set(failed_agents)
                session.is_dispatched = False
                for kernel in session.kernels:
                    kernel.agent, kernel.occupied = None, (0, 0)
                self._move(session, SessionStatus.PENDING)
        return outcome

    def sweep(self, limit: int) -> Outcome:
        old = [
            number
            for number, session in enumerate(self.sessions)
            if session.status is SessionStatus.PENDING and session.is_old
        ]
        return self.mark(SessionStatus.CANCELLED, old[:limit])

    def dispatch(self, attempts: Sequence[tuple[int, int]]) -> Outcome:
        """Mark attempts, each session at most once in the answer; the code of a rejection is empty."""
        outcome = Outcome()
        for number, retry_count in attempts:
            if self._is_known(number):
                session = self.sessions[number]
                waits = session.status in _UNDISPATCHED and not session.is_dispatched
                if waits and session.retry_count == retry_count:
                    session.is_dispatched = True
                    outcome.changed.append(number)
        named = list(dict.fromkeys(number for number, _ in attempts))
        outcome.changed = [number for number in named if number in outcome.changed]
        outcome.rejected = [(number, "") for number in named if number not in outcome.changed]
        return outcome

    def _occupying(self) -> list[ModelSession]:
        return [session for session in self.sessions if session.status in OCCUPYING_STATUSES]

    def _is_known(self, number: int) -> bool:
        return number < len(self.sessions)

    def _move(self, session: ModelSession, to_status: SessionStatus) -> None:
        session.history = (*session.history, (session.status, to_status))
        session.status = to_status
        session.is_old = False

    def _may_move(self, outcome: Outcome, number: int, to_status: SessionStatus) -> bool:
        named = outcome.changed + [rejected for rejected, _ in outcome.rejected]
        code: Optional[TransitionRejectionCode] = None
        if number in named:
            code = TransitionRejectionCode.DUPLICATE
        elif not self._is_known(number):
            code = TransitionRejectionCode.SESSION_UNKNOWN
        elif not is_allowed(SESSION_TRANSITIONS, self.sessions[number].status, to_status):
            code = TransitionRejectionCode.NOT_ALLOWED
        if code is None:
            outcome.changed.append(number)
        else:
            outcome.rejected.append((number, code))
        return code is None

    def _obstacle(self, number: int, names: Sequence[str]) -> Optional[RejectionCode]:
        if not self._is_known(number):
            return RejectionCode.SESSION_UNKNOWN
        session = self.sessions[number]
        if session.status is not SessionStatus.PENDING:
            return RejectionCode.NOT_PENDING
        requests = [kernel.requested for kernel in session.kernels]
        running = self._occupying()
        used = add([kernel.occupied for each in running for kernel in each.kernels] + requests)
        if len(running) >= self.session_limit or used[0] > self.core_limit:
            return RejectionCode.OWNER_LIMIT
        for name in set(names):
            agent = self.agents[name]
            held = self.on_agent(name) + [
                request for request, on in zip(requests, names, strict=True) if on == name
            ]
            too_many = agent.max_containers is not None and len(held) > agent.max_containers
            if too_many or exceeds(add(held), agent.capacity):
                return RejectionCode.AGENT
        return None
