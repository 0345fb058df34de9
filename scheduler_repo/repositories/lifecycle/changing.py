"""The statements that move a batch of sessions from status to status, with their kernels, in one transaction.

Every change goes by the table of transitions, is a compare-and-set under the session's lock, leaves a history
row, and gives back to the agents what the new status does not occupy.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple, Optional, Union

import msgspec

from scheduler_repo.database.agent_counters import GivenBack, change_agents, locked_ledger
from scheduler_repo.database.bulk import array_text
from scheduler_repo.database.engine import SASession
from scheduler_repo.database.idempotent_write import WriteTransaction
from scheduler_repo.database.locks import CHANGE_SESSIONS, LOCK_SESSIONS
from scheduler_repo.database.lookups import SLOT_TYPES
from scheduler_repo.database.statements import expect_rows, fetch_rows, load_statement
from scheduler_repo.entities.lifecycle import RejectedTransition, TransitionRejectionCode, TransitionResult
from scheduler_repo.entities.transitions import SESSION_TRANSITIONS, is_allowed
from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import printable, quoted
from scheduler_repo.scheduling.rules.feasibility import free_slots, slot_shortage
from scheduler_repo.scheduling.snapshot.build import slot_types_by_index
from scheduler_repo.slots import slot_vector
from scheduler_repo.types import (
    OCCUPYING_STATUSES,
    AgentId,
    KernelId,
    ScalingGroupName,
    SessionId,
    SessionResult,
    SessionStatus,
    SlotName,
    SlotVector,
)
from scheduler_repo.validation import Int32, check_ids, check_range, check_text

SESSION_KERNELS = load_statement("lifecycle/session_kernels")
CHANGE_KERNELS = load_statement("lifecycle/change_kernels")
RECORD_FAILED_AGENTS = load_statement("lifecycle/record_failed_agents")


class SessionChange(msgspec.Struct, frozen=True):
    """What one session of a batch becomes, besides its status."""

    session_id: SessionId
    result: Optional[SessionResult] = None
    exit_codes: Mapping[KernelId, int] = {}
    occupied_slots: Mapping[KernelId, Mapping[SlotName, int]] = {}
    failed_agent_ids: tuple[AgentId, ...] = ()
    retry_count: Optional[int] = None


class _Kernel(NamedTuple):
    """session_kernels.sql"""

    session_id: SessionId
    kernel_id: KernelId
    status: str
    agent_id: Optional[AgentId]
    requested_slots: list[int]
    occupied_slots: list[int]


class _KernelChange(NamedTuple):
    """A kernel as change_kernels.sql takes it, and what it gives back."""

    kernel_id: KernelId
    from_status: str
    exit_code: Optional[int]
    occupied_slots: Optional[SlotVector]
    given_back: Optional[GivenBack]


class Move(msgspec.Struct, frozen=True):
    """One change of status for a whole batch.

    ``only_from`` narrows the table of transitions to one status, ``scaling_group`` the batch to one group.
    """

    to_status: SessionStatus
    reason: Optional[str] = None
    only_from: Optional[SessionStatus] = None
    scaling_group: Optional[ScalingGroupName] = None


async def change_batch(
    write: WriteTransaction, move: Move, changes: Sequence[SessionChange]
) -> TransitionResult:
    """Move what may be moved of a batch; costs eight statements, whatever its size.

    One more to PENDING (the agents that failed) and to RUNNING (the slot types). Raises InvalidInput for a
    reason, a result, an agent's or a kernel's id that is none.
    """
    _check_words(move, changes)
    batch = _Batch(move, await _slot_names(write.db_sess, move))
    await batch.lock(write.db_sess, changes)
    for change in changes:
        batch.judge(change)
    await batch.write(write.db_sess)
    write.changed_sessions.update(batch.accepted)
    return TransitionResult(move.to_status, tuple(batch.accepted), tuple(batch.rejected), write.transaction_id)


def _check_words(move: Move, changes: Sequence[SessionChange]) -> None:
    # Left to the database, these would fail the batch without a word on whose they are; a kernel id that is no
    # UUID would be stored in the result, and not be read from there again.
    if move.reason is not None:
        check_text(move.reason, "the reason")
    for change in changes:
        subject = f"session {change.session_id}"
        for name, given in (("exit_codes", change.exit_codes), ("occupied_slots", change.occupied_slots)):
            if not isinstance(given, Mapping):
                raise InvalidInput(f"{subject}: {name} is {quoted(given)}; give a mapping by kernel id")
        check_ids(f"{subject}: kernel", chain(change.exit_codes, change.occupied_slots))
        if change.result not in (None, *SessionResult):
            raise InvalidInput(
                f"{subject}: the result {quoted(change.result)} is none; give a SessionResult or None"
            )
        if not isinstance(change.failed_agent_ids, tuple):
            raise InvalidInput(
                f"{subject}: failed_agent_ids is {quoted(change.failed_agent_ids)}; give a tuple"
            )
        for agent_id in change.failed_agent_ids:
            check_text(agent_id, f"{subject}: agent id")
            if not agent_id:
                raise InvalidInput(f"{subject}: agent id '' is empty; give the ids of the agents that failed")


async def _slot_names(db_sess: SASession, move: Move) -> Sequence[SlotName]:
    if move.to_status is not SessionStatus.RUNNING:
        return ()
    return [slot_type.name for slot_type in slot_types_by_index(await fetch_rows(db_sess, SLOT_TYPES))]


class _Batch:
    def __init__(self, move: Move, slot_names: Sequence[SlotName]) -> None:
        self._move = move
        self._slot_names = slot_names
        self._seen: set[SessionId] = set()
        self._kernel_changes: list[_KernelChange] = []
        self.accepted: dict[SessionId, SessionChange] = {}
        self.rejected: list[RejectedTransition] = []

    async def lock(self, db_sess: SASession, changes: Sequence[SessionChange]) -> None:
        """Lock the sessions, then the agents that may get something back."""
        session_ids = sorted({change.session_id for change in changes})
        rows = await fetch_rows(db_sess, LOCK_SESSIONS, session_ids)
        self._statuses = {row["session_id"]: SessionStatus(row["status"]) for row in rows}
        self._groups = {row["session_id"]: row["scaling_group"] for row in rows}
        self._retry_counts = {row["session_id"]: row["retry_count"] for row in rows}
        movable = [each for each in session_ids if self._status_rejection(each) is None]
        self._kernels: dict[SessionId, list[_Kernel]] = {}
        for row in await fetch_rows(db_sess, SESSION_KERNELS, movable):
            self._kernels.setdefault(row[0], []).append(_Kernel(*row))
        agent_ids = {
            kernel.agent_id
            for kernels in self._kernels.values()
            for kernel in kernels
            if kernel.agent_id is not None and self._may_give_back
        }
        self._ledger = await locked_ledger(db_sess, list(agent_ids))

    @property
    def _may_give_back(self) -> bool:
        to_status = self._move.to_status
        return to_status not in OCCUPYING_STATUSES or to_status is SessionStatus.RUNNING

    def judge(self, change: SessionChange) -> None:
        """Take a session into the batch, or say why not."""
        session_id = change.session_id
        if session_id in self._seen:
            rejection: Optional[RejectedTransition] = RejectedTransition(
                session_id, TransitionRejectionCode.DUPLICATE
            )
        else:
            rejection = (
                self._status_rejection(session_id) or self._attempt_rejection(change) or self._take(change)
            )
        self._seen.add(session_id)
        if rejection is not None:
            self.rejected.append(rejection)

    def _status_rejection(self, session_id: SessionId) -> Optional[RejectedTransition]:
        move = self._move
        status = self._statuses.get(session_id)
        if status is None:
            return RejectedTransition(session_id, TransitionRejectionCode.SESSION_UNKNOWN)
        if move.scaling_group not in (None, self._groups[session_id]):
            return RejectedTransition(
                session_id,
                TransitionRejectionCode.OTHER_GROUP,
                status,
                detail=f"it is in {self._groups[session_id]}, not in {move.scaling_group}",
            )
        allowed = is_allowed(SESSION_TRANSITIONS, status, move.to_status)
        if not allowed or move.only_from not in (None, status):
            return RejectedTransition(
                session_id,
                TransitionRejectionCode.NOT_ALLOWED,
                status,
                detail=f"from {status} to {move.to_status}",
            )
        return None

    def _attempt_rejection(self, change: SessionChange) -> Optional[RejectedTransition]:
        now = self._retry_counts[change.session_id]
        if change.retry_count is None or (type(change.retry_count) is int and change.retry_count == now):
            return None
        return RejectedTransition(
            change.session_id,
            TransitionRejectionCode.OTHER_ATTEMPT,
            self._statuses[change.session_id],
            detail=f"attempt {quoted(change.retry_count)} was named, this is {now}",
        )

    def _take(self, change: SessionChange) -> Optional[RejectedTransition]:
        session_id, status = change.session_id, self._statuses[change.session_id]
        kernels = self._kernels.get(session_id, [])
        unknown = (change.exit_codes.keys() | change.occupied_slots.keys()).difference(
            kernel.kernel_id for kernel in kernels
        )
        if unknown:
            kernel_id = min(unknown, key=str)
            return RejectedTransition(
                session_id, TransitionRejectionCode.KERNEL_UNKNOWN, status, kernel_id=kernel_id
            )
        taken: list[_KernelChange] = []
        for kernel in kernels:
            kernel_change = self._kernel_change(kernel, change, status)
            if isinstance(kernel_change, RejectedTransition):
                return kernel_change
            taken.append(kernel_change)
        given_back = [each.given_back for each in taken if each.given_back is not None]
        drifted = self._ledger.give_back(given_back)
        if drifted is not None:
            return RejectedTransition(
                session_id,
                TransitionRejectionCode.LEDGER_DRIFT,
                status,
                agent_id=drifted,
                detail="the counters are below what its kernels occupy; run: scheduler-repo audit",
            )
        self._kernel_changes.extend(taken)
        self.accepted[session_id] = change
        return None

    def _kernel_change(
        self, kernel: _Kernel, change: SessionChange, status: SessionStatus
    ) -> Union[_KernelChange, RejectedTransition]:
        def rejected(code: TransitionRejectionCode, detail: str) -> RejectedTransition:
            return RejectedTransition(
                change.session_id, code, status, kernel.kernel_id, kernel.agent_id, detail
            )

        exit_code = change.exit_codes.get(kernel.kernel_id)
        occupied: Optional[SlotVector] = None
        subject = f"kernel {kernel.kernel_id}"
        try:
            if exit_code is not None:
                check_range(exit_code, Int32, f"{subject}, exit code")
            if kernel.kernel_id in change.occupied_slots:
                occupied = slot_vector(change.occupied_slots[kernel.kernel_id], self._slot_names, subject)
        except InvalidInput as error:
            return rejected(TransitionRejectionCode.INVALID_AMOUNT, printable(str(error)))
        if occupied is not None:
            excess = slot_shortage(occupied, tuple(kernel.requested_slots))
            if excess is not None:
                return rejected(
                    TransitionRejectionCode.ABOVE_REQUEST,
                    f"slot {self._slot_names[excess.slot_index]}: occupies {excess.requested}, "
                    f"requested {excess.available}",
                )
        return _KernelChange(
            kernel.kernel_id, kernel.status, exit_code, occupied, self._given_back(kernel, occupied)
        )

    def _given_back(self, kernel: _Kernel, occupied: Optional[SlotVector]) -> Optional[GivenBack]:
        if kernel.agent_id is None or kernel.status not in OCCUPYING_STATUSES:
            return None
        held = tuple(kernel.occupied_slots)
        if self._move.to_status not in OCCUPYING_STATUSES:
            return GivenBack(kernel.agent_id, held, 1)
        if occupied is None:
            return None
        return GivenBack(kernel.agent_id, free_slots(held, occupied), 0)

    async def write(self, db_sess: SASession) -> None:
        """Change kernels, sessions and agents, in the order of the locks."""
        kernels, move = self._kernel_changes, self._move
        await expect_rows(
            db_sess,
            len(kernels),
            CHANGE_KERNELS,
            [kernel.kernel_id for kernel in kernels],
            [kernel.from_status for kernel in kernels],
            [move.to_status.value] * len(kernels),
            [kernel.exit_code for kernel in kernels],
            [
                None if kernel.occupied_slots is None else array_text(kernel.occupied_slots)
                for kernel in kernels
            ],
        )
        session_ids = list(self.accepted)
        await expect_rows(
            db_sess,
            len(session_ids),
            CHANGE_SESSIONS,
            session_ids,
            [self._statuses[session_id].value for session_id in session_ids],
            [move.to_status.value] * len(session_ids),
            [change.result for change in self.accepted.values()],
            move.reason,
        )
        if move.to_status is SessionStatus.PENDING:
            await self._record_failed_agents(db_sess)
        await change_agents(db_sess, self._ledger.given_slots, self._ledger.given_containers, sign=-1)

    async def _record_failed_agents(self, db_sess: SASession) -> None:
        pairs = [
            (change.session_id, agent_id)
            for change in self.accepted.values()
            for agent_id in change.failed_agent_ids
        ]
        await fetch_rows(
            db_sess,
            RECORD_FAILED_AGENTS,
            [session_id for session_id, _ in pairs],
            [agent_id for _, agent_id in pairs],
        )
