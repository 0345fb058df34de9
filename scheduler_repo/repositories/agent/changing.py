"""The statements that change what agents are: lost, draining, resumed or terminated, in one transaction.

Every change goes by the table of transitions, is judged under the agent's lock, and leaves a history row.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Optional, Union

import msgspec

from scheduler_repo.database.idempotent_write import WriteTransaction
from scheduler_repo.database.lookups import require_group
from scheduler_repo.database.statements import expect_rows, fetch_rows, load_statement
from scheduler_repo.entities.agent import (
    AgentRejectionCode,
    AgentSwitchResult,
    AgentTransitionResult,
    RejectedAgentTransition,
)
from scheduler_repo.entities.transitions import AGENT_TRANSITIONS, is_allowed
from scheduler_repo.repositories.agent.locking import (
    AgentChange,
    CapacityChange,
    LockedAgent,
    LockedSlot,
    batch_rejection,
    lock_agents,
    lock_slots,
    shrunk_slots,
    write_capacity,
    write_statuses,
)
from scheduler_repo.types import AgentId, AgentStatus, ScalingGroupName, SlotName

SILENT_AGENTS = load_statement("agent/silent_agents")
STILL_SILENT_AGENTS = load_statement("agent/still_silent_agents")
OCCUPIED_AGENTS = load_statement("agent/occupied_agents")
SWITCH_AGENTS = load_statement("agent/switch_agents")


class AgentMove(msgspec.Struct, frozen=True):
    """One change of status for a whole batch, narrowed to one group if it is given."""

    to_status: AgentStatus
    reason: Optional[str] = None
    scaling_group: Optional[ScalingGroupName] = None


async def lose_batch(
    write: WriteTransaction, scaling_group: ScalingGroupName, longest_silence: timedelta
) -> AgentTransitionResult:
    """Mark the silent agents of a group as lost; costs three statements, whatever their number."""
    db_sess, to_status = write.db_sess, AgentStatus.LOST
    locked = await fetch_rows(db_sess, SILENT_AGENTS, scaling_group, longest_silence)
    if not locked:
        await require_group(db_sess, scaling_group)
    rows = await fetch_rows(db_sess, STILL_SILENT_AGENTS, [row["agent_id"] for row in locked], longest_silence)
    silent = {row["agent_id"] for row in rows}
    reason = f"not heard of for longer than {longest_silence}"
    changes = [
        AgentChange(row["agent_id"], status, to_status, AgentStatus(row["returns_as"]), reason)
        for row in locked
        if row["agent_id"] in silent
        and is_allowed(AGENT_TRANSITIONS, status := AgentStatus(row["status"]), to_status)
    ]
    await write_statuses(db_sess, changes)
    lost = tuple(change.agent_id for change in changes)
    return AgentTransitionResult(to_status, lost, (), transaction_id=write.transaction_id)


async def move_batch(
    write: WriteTransaction, move: AgentMove, agent_ids: Sequence[AgentId]
) -> AgentTransitionResult:
    """Drain, resume or terminate what may be; costs five statements, whatever the number."""
    db_sess = write.db_sess
    agents = await lock_agents(db_sess, agent_ids)
    slots = await lock_slots(db_sess, agents)
    rows = await fetch_rows(db_sess, OCCUPIED_AGENTS, sorted(agents))
    batch = _Batch(move, agents, slots, {row["agent_id"]: row["kernels"] for row in rows})
    seen: set[AgentId] = set()
    for agent_id in agent_ids:
        rejection = batch_rejection(agent_id, agents, seen, move.scaling_group)
        batch.take(rejection or batch.judged(agents[agent_id]))
    await write_statuses(db_sess, batch.changes)
    await write_capacity(db_sess, batch.capacity_changes)
    return AgentTransitionResult(
        move.to_status,
        tuple(change.agent_id for change in batch.changes if change.to_status is not change.from_status),
        tuple(batch.rejected),
        tuple(change.agent_id for change in batch.changes if change.to_status is change.from_status),
        write.transaction_id,
    )


async def switch_batch(
    write: WriteTransaction,
    agent_ids: Sequence[AgentId],
    is_schedulable: bool,
    scaling_group: Optional[ScalingGroupName],
) -> AgentSwitchResult:
    """Open agents for scheduling, or close them; costs two statements, whatever the number."""
    agents = await lock_agents(write.db_sess, agent_ids)
    changed: list[AgentId] = []
    unchanged: list[AgentId] = []
    rejected: list[RejectedAgentTransition] = []
    seen: set[AgentId] = set()
    for agent_id in agent_ids:
        rejection = batch_rejection(agent_id, agents, seen, scaling_group)
        if rejection is not None:
            rejected.append(rejection)
        elif agents[agent_id].is_schedulable is is_schedulable:
            unchanged.append(agent_id)
        else:
            changed.append(agent_id)
    await expect_rows(write.db_sess, len(changed), SWITCH_AGENTS, changed, is_schedulable)
    return AgentSwitchResult(
        is_schedulable, tuple(changed), tuple(unchanged), tuple(rejected), write.transaction_id
    )


class _Batch:
    def __init__(
        self,
        move: AgentMove,
        agents: dict[AgentId, LockedAgent],
        slots: dict[AgentId, dict[SlotName, LockedSlot]],
        kernels: dict[AgentId, int],
    ) -> None:
        self._move = move
        self._agents = agents
        self._slots = slots
        self._kernels = kernels
        self.changes: list[AgentChange] = []
        self.capacity_changes: list[CapacityChange] = []
        self.rejected: list[RejectedAgentTransition] = []

    def take(self, judged: Union[AgentChange, RejectedAgentTransition]) -> None:
        """Count an agent among those that change, or those that do not."""
        if isinstance(judged, RejectedAgentTransition):
            self.rejected.append(judged)
            return
        self.changes.append(judged)
        if judged.to_status is AgentStatus.ALIVE:
            # What it reported while it ran more than that holds from now on.
            self.capacity_changes.extend(
                CapacityChange(judged.agent_id, name, slot.reported, slot.reported)
                for name, slot in sorted(self._slots.get(judged.agent_id, {}).items())
                if slot.reported is not None and slot.reported != slot.capacity
            )

    def judged(self, agent: LockedAgent) -> Union[AgentChange, RejectedAgentTransition]:
        """Say what becomes of an agent; a DRAINING or ALIVE that cannot be yet is kept for its return."""
        move = self._move
        if move.to_status is AgentStatus.TERMINATED:
            return self._terminated(agent)
        is_wanted_already = agent.returns_as is move.to_status
        is_present = agent.status in (AgentStatus.ALIVE, AgentStatus.DRAINING)
        if is_present and is_allowed(AGENT_TRANSITIONS, agent.status, move.to_status):
            shrunk = shrunk_slots(self._slots.get(agent.agent_id, {}))
            if move.to_status is AgentStatus.DRAINING or not shrunk:
                return self._changed(agent, move.to_status, move.to_status)
            if is_wanted_already:
                short = shrunk[0]
                return RejectedAgentTransition(
                    agent.agent_id,
                    AgentRejectionCode.SHRUNK,
                    agent.status,
                    f"slot {short.slot_name}: occupied {short.occupied}, reported {short.reported}; "
                    "it takes kernels again when what it runs fits",
                )
        elif is_wanted_already:
            return self._not_allowed(agent)
        return self._changed(agent, agent.status, move.to_status)

    def _terminated(self, agent: LockedAgent) -> Union[AgentChange, RejectedAgentTransition]:
        if not is_allowed(AGENT_TRANSITIONS, agent.status, AgentStatus.TERMINATED):
            return self._not_allowed(agent)
        kernels = self._kernels.get(agent.agent_id, 0)
        if kernels:
            return RejectedAgentTransition(
                agent.agent_id,
                AgentRejectionCode.OCCUPIED,
                agent.status,
                f"kernels that occupy it: {kernels}; end them, or recover the sessions of a lost agent",
            )
        return self._changed(agent, AgentStatus.TERMINATED, agent.returns_as)

    def _changed(self, agent: LockedAgent, to_status: AgentStatus, returns_as: AgentStatus) -> AgentChange:
        return AgentChange(agent.agent_id, agent.status, to_status, returns_as, self._move.reason)

    def _not_allowed(self, agent: LockedAgent) -> RejectedAgentTransition:
        detail = f"from {agent.status} to {self._move.to_status}"
        if agent.status is not self._move.to_status and agent.returns_as is self._move.to_status:
            detail = f"it is {agent.status}, and returns as {agent.returns_as} already"
        return RejectedAgentTransition(agent.agent_id, AgentRejectionCode.NOT_ALLOWED, agent.status, detail)
