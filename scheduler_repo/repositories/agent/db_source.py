"""Agents in PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta
from operator import itemgetter
from typing import Optional

from scheduler_repo.database.bulk import copy_rows
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession
from scheduler_repo.database.statements import fetch_rows
from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.agent.changing import AgentMove, lose_batch, move_batch
from scheduler_repo.repositories.agent.locking import check_agent_ids, storable_ids
from scheduler_repo.repositories.agent.reporting import RECORD_HEARTBEATS, report_batch
from scheduler_repo.repositories.scaling_group.db_source import SLOT_TYPES
from scheduler_repo.repositories.writing import OpenWrite, WriteKind, check_lease_group
from scheduler_repo.resilience.layers import LayerType, db_source_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.agent_life import (
    AgentReport,
    AgentReportResult,
    AgentTransitionResult,
    HeartbeatResult,
)
from scheduler_repo.scheduling.lease import Lease
from scheduler_repo.scheduling.transforms import slot_types_by_index
from scheduler_repo.slots import checked_int32, slot_vector
from scheduler_repo.specs import AgentSpec
from scheduler_repo.types import AgentId, AgentStatus, OperationId, ScalingGroupName, SlotName

_REGISTER_AGENTS = WriteKind("register_agents", type(None))
_MARK_LOST_AGENTS = WriteKind("mark_lost_agents", AgentTransitionResult)
_MOVE_AGENTS = WriteKind("move_agents", AgentTransitionResult)
_RETURN_AGENTS = WriteKind("return_agents", AgentReportResult)

_GONE = (AgentStatus.LOST, AgentStatus.TERMINATED)


_resilience = db_source_resilience(LayerType.AGENT_DB_SOURCE)


class AgentDBSource:
    """Registers agents and takes them through their life: heard of, lost, returned, drained, terminated.

    Save for registering, every batch answers agent by agent: what may not be done is rejected, the rest goes
    through. All raise InvalidInput for an id that is no text, and the errors of the database layer; writes but
    heartbeats StaleLeaseError, OperationMismatch and OutcomeUnknown too.
    """

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.WRITE)
    async def register_agents(
        self, agents: Sequence[AgentSpec], operation_id: Optional[OperationId] = None
    ) -> None:
        """Register agents as alive and empty, all or none.

        Raises AgentAlreadyExists, ScalingGroupNotFound, UnknownSlotType, InvalidQuantity, OperationMismatch and
        OutcomeUnknown. Costs six statements, whatever the number.
        """
        if not agents:
            return

        async def register(write: OpenWrite) -> None:
            slot_types = slot_types_by_index(await fetch_rows(write.db_sess, SLOT_TYPES))
            await insert_agents(write.db_sess, agents, [slot_type.name for slot_type in slot_types])

        await _REGISTER_AGENTS.run(self._engine, register, request=agents, operation_id=operation_id)

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def record_heartbeats(self, agent_ids: Sequence[AgentId]) -> HeartbeatResult:
        """Record that agents were heard of now, by the database's clock; costs one statement."""
        check_agent_ids(agent_ids)
        if not agent_ids:
            return HeartbeatResult((), (), ())
        async with self._engine.begin_session() as db_sess:
            rows = await fetch_rows(db_sess, RECORD_HEARTBEATS, storable_ids(agent_ids))
        statuses = {row["agent_id"]: AgentStatus(row["status"]) for row in rows}
        wanted = dict.fromkeys(agent_ids)
        return HeartbeatResult(
            tuple(agent_id for agent_id in wanted if agent_id in statuses),
            tuple(agent_id for agent_id in wanted if agent_id not in statuses),
            tuple(agent_id for agent_id in wanted if statuses.get(agent_id) in _GONE),
        )

    @_resilience.apply(OperationKind.WRITE)
    async def mark_lost_agents(
        self,
        scaling_group: ScalingGroupName,
        longest_silence: timedelta,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentTransitionResult:
        """Mark agents of a group as LOST that were not heard of for that long; costs five statements."""
        check_lease_group(lease, scaling_group)
        _check_silence(longest_silence)
        return await _MARK_LOST_AGENTS.run(
            self._engine,
            lambda write: lose_batch(write, scaling_group, longest_silence),
            request=(scaling_group, longest_silence),
            operation_id=operation_id,
            lease=lease,
        )

    @_resilience.apply(OperationKind.WRITE)
    async def move_agents(
        self,
        to_status: AgentStatus,
        agent_ids: Sequence[AgentId],
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentTransitionResult:
        """Drain (DRAINING), resume (ALIVE) or terminate (TERMINATED) agents; costs seven statements."""
        if to_status is AgentStatus.LOST:
            raise InvalidInput("an agent becomes LOST by mark_lost_agents() only")
        check_agent_ids(agent_ids)
        if not agent_ids:
            return AgentTransitionResult(to_status, (), ())
        move = AgentMove(to_status, reason, None if lease is None else lease.scaling_group)
        return await _MOVE_AGENTS.run(
            self._engine,
            lambda write: move_batch(write, move, agent_ids),
            request=(to_status, agent_ids, reason),
            operation_id=operation_id,
            lease=lease,
        )

    @_resilience.apply(OperationKind.WRITE)
    async def return_agents(
        self,
        reports: Sequence[AgentReport],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentReportResult:
        """Take what agents report of themselves; who was lost or terminated is back. Costs nine statements."""
        check_agent_ids([report.agent_id for report in reports])
        if not reports:
            return AgentReportResult((), (), (), (), ())
        return await _RETURN_AGENTS.run(
            self._engine,
            lambda write: report_batch(write, reports, None if lease is None else lease.scaling_group),
            request=reports,
            operation_id=operation_id,
            lease=lease,
        )


def _check_silence(longest_silence: object) -> None:
    if not isinstance(longest_silence, timedelta) or longest_silence <= timedelta():
        raise InvalidInput(f"longest_silence is {longest_silence!r:.60}, it must be a timedelta above 0")


async def insert_agents(
    db_sess: SASession, agents: Sequence[AgentSpec], slot_names: Sequence[SlotName]
) -> None:
    """Add agents, their slots and history in the session's transaction."""
    agent_rows: list[tuple[object, ...]] = []
    slot_rows: list[tuple[object, ...]] = []
    for agent in agents:
        subject = f"agent {agent.agent_id}"
        if not agent.agent_id:
            raise InvalidInput("an agent's id is empty; give it one")
        slot_vector(agent.capacity, slot_names, subject)
        if agent.max_containers is not None:
            checked_int32(agent.max_containers, f"{subject}, max_containers")
        agent_rows.append(
            (agent.agent_id, agent.scaling_group, agent.address, agent.architecture, agent.max_containers)
        )
        slot_rows.extend((agent.agent_id, slot, amount, amount) for slot, amount in agent.capacity.items())
    # Of two callers with the same agents one waits and finds them; in unlike orders they would deadlock.
    agent_rows.sort(key=itemgetter(0))
    await copy_rows(
        db_sess, "agents", ("id", "scaling_group", "address", "architecture", "max_containers"), agent_rows
    )
    await copy_rows(
        db_sess, "agent_slots", ("agent_id", "slot_name", "capacity", "reported_capacity"), slot_rows
    )
    history_rows = [(agent.agent_id, AgentStatus.ALIVE.value) for agent in agents]
    await copy_rows(db_sess, "agent_history", ("agent_id", "to_status"), history_rows)
