"""The statements that end a batch of sessions and give their slots back, in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Optional

import msgspec

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.repositories.scheduler.allocating import (
    LOCK_AGENT_SLOTS,
    LOCK_AGENTS,
    LOCK_SESSIONS,
    change_agents,
    expect_rows,
)
from scheduler_repo.scheduling.allocation import RejectedRelease, ReleaseResult
from scheduler_repo.scheduling.feasibility import total_slots
from scheduler_repo.types import (
    OCCUPYING_STATUSES,
    AgentId,
    KernelId,
    SessionId,
    SessionResult,
    SessionStatus,
    SlotVector,
)

OCCUPYING_KERNELS = load_statement("occupying_kernels")
TERMINATE_KERNELS = load_statement("terminate_kernels")
TERMINATE_SESSIONS = load_statement("terminate_sessions")


class OccupyingKernel(msgspec.Struct, frozen=True):
    """A kernel that holds slots on an agent."""

    kernel_id: KernelId
    agent_id: AgentId
    occupied_slots: SlotVector


async def release_batch(
    db_sess: SASession, session_ids: Sequence[SessionId], result: Optional[SessionResult]
) -> ReleaseResult:
    """End what occupies agents of a batch; costs eight statements, whatever its size."""
    wanted = list(dict.fromkeys(session_ids))
    statuses = {
        row["session_id"]: SessionStatus(row["status"])
        for row in await fetch_rows(db_sess, LOCK_SESSIONS, sorted(wanted))
    }
    occupying = [session_id for session_id in wanted if statuses.get(session_id) in OCCUPYING_STATUSES]
    ledger, kernels = await _locked_ledger(db_sess, occupying)
    drifted: dict[SessionId, AgentId] = {}
    for session_id in occupying:
        agent_id = ledger.give_back(kernels.get(session_id, ()))
        if agent_id is not None:
            drifted[session_id] = agent_id
    ending = {session_id: statuses[session_id] for session_id in occupying if session_id not in drifted}
    if ending:
        ended = [kernel.kernel_id for session_id in ending for kernel in kernels.get(session_id, ())]
        await expect_rows(db_sess, len(ended), TERMINATE_KERNELS, ended)
        ended_from = [status.value for status in ending.values()]
        await expect_rows(db_sess, len(ending), TERMINATE_SESSIONS, list(ending), ended_from, result)
        await change_agents(db_sess, ledger.given_slots, ledger.given_containers, sign=-1)
    return ReleaseResult(
        tuple(ending),
        tuple(
            RejectedRelease(session_id, statuses.get(session_id), drifted.get(session_id))
            for session_id in wanted
            if session_id not in ending
        ),
    )


class _Ledger:
    """What locked agents hold by their counters, and what of it is given back."""

    def __init__(self, slots: Mapping[AgentId, Mapping[int, int]], containers: Mapping[AgentId, int]) -> None:
        self._slots = slots
        self._containers = containers
        self.given_slots: dict[AgentId, SlotVector] = {}
        self.given_containers: dict[AgentId, int] = {}

    def give_back(self, kernels: Iterable[OccupyingKernel]) -> Optional[AgentId]:
        """Count a session's kernels as given back, or name the agent whose counters do not hold them."""
        slots: dict[AgentId, SlotVector] = {}
        containers: dict[AgentId, int] = {}
        for kernel in kernels:
            agent_id = kernel.agent_id
            given = slots.get(agent_id) or self.given_slots.get(agent_id, ())
            slots[agent_id] = total_slots((given, kernel.occupied_slots))
            count = containers.get(agent_id) or self.given_containers.get(agent_id, 0)
            containers[agent_id] = count + 1
            held = self._slots.get(agent_id, {})
            if containers[agent_id] > self._containers[agent_id] or any(
                amount > held.get(index, 0) for index, amount in enumerate(slots[agent_id])
            ):
                return agent_id
        self.given_slots.update(slots)
        self.given_containers.update(containers)
        return None


async def _locked_ledger(
    db_sess: SASession, session_ids: Sequence[SessionId]
) -> tuple[_Ledger, dict[SessionId, list[OccupyingKernel]]]:
    kernels: dict[SessionId, list[OccupyingKernel]] = {}
    for session_id, kernel_id, agent_id, occupied in await fetch_rows(db_sess, OCCUPYING_KERNELS, session_ids):
        kernels.setdefault(session_id, []).append(OccupyingKernel(kernel_id, agent_id, tuple(occupied)))
    agent_ids = sorted({kernel.agent_id for group in kernels.values() for kernel in group})
    agents = await fetch_rows(db_sess, LOCK_AGENTS, agent_ids)
    slots: dict[AgentId, dict[int, int]] = {}
    for agent_id, slot_index, _, occupied in await fetch_rows(db_sess, LOCK_AGENT_SLOTS, agent_ids):
        slots.setdefault(agent_id, {})[slot_index] = occupied
    return _Ledger(slots, {row["agent_id"]: row["container_count"] for row in agents}), kernels
