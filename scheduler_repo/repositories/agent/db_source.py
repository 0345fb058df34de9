"""Agents in PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta
from operator import itemgetter
from typing import Optional

from scheduler_repo.database.bulk import copy_rows
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession
from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction, check_lease_group
from scheduler_repo.database.lookups import SLOT_TYPES, require_group
from scheduler_repo.database.statements import fetch_rows
from scheduler_repo.entities.agent import (
    Agent,
    AgentFilter,
    AgentInfo,
    AgentReport,
    AgentReportResult,
    AgentSpec,
    AgentSwitchResult,
    AgentTransitionResult,
    HeartbeatResult,
)
from scheduler_repo.entities.filtering import checked_filter
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page, check_limit
from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import quoted
from scheduler_repo.repositories.agent.changing import AgentMove, lose_batch, move_batch, switch_batch
from scheduler_repo.repositories.agent.locking import storable_ids
from scheduler_repo.repositories.agent.reading import (
    agent_infos,
    agent_of,
    fetch_agent,
    fetch_agents,
    no_such_agent,
)
from scheduler_repo.repositories.agent.reporting import RECORD_HEARTBEATS, report_batch
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.snapshot.build import slot_types_by_index
from scheduler_repo.slots import checked_int32, checked_quantity, slot_vector
from scheduler_repo.types import AgentId, AgentStatus, OperationId, ScalingGroupName, SlotName
from scheduler_repo.validation import (
    check_agent_ids,
    check_flag,
    check_lease,
    check_name,
    check_text,
    checked_batch,
)

_REGISTER_AGENTS = IdempotentWrite("register_agents", type(None))
_MARK_LOST_AGENTS = IdempotentWrite("mark_lost_agents", AgentTransitionResult)
_MOVE_AGENTS = IdempotentWrite("move_agents", AgentTransitionResult)
_RETURN_AGENTS = IdempotentWrite("return_agents", AgentReportResult)
_SWITCH_AGENTS = IdempotentWrite("set_agents_schedulable", AgentSwitchResult)

_SEARCH_AGENTS = CursorCodec("search_agents", tuple[AgentId])

_GONE = (AgentStatus.LOST, AgentStatus.TERMINATED)
_ASKED_FOR = (AgentStatus.ALIVE, AgentStatus.DRAINING, AgentStatus.TERMINATED)
_resilience = layer_resilience(LayerType.AGENT_DB_SOURCE)


class AgentDBSource:
    """Reads agents, registers them, and takes them through their life, from heard of to terminated.

    Save for registering, every batch answers agent by agent: what may not be done is rejected, the rest goes
    through. All raise InvalidInput for an id that is no text, and the errors of the database layer; writes but
    heartbeats StaleLeaseError, OperationMismatch and OutcomeUnknown too.
    """

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.READ)
    async def get_agent(self, agent_id: AgentId) -> Agent:
        """Return one agent with its ledger; raises AgentNotFound. Costs two statements."""
        found = await self._find(agent_id)
        if found is None:
            raise no_such_agent(agent_id)
        return found

    @_resilience.apply(OperationKind.READ)
    async def find_agent(self, agent_id: AgentId) -> Optional[Agent]:
        """Find one agent with its ledger; None if there is none of this id. Costs two statements."""
        return await self._find(agent_id)

    @_resilience.apply(OperationKind.READ)
    async def list_agents(
        self, scaling_group: ScalingGroupName, limit: int = DEFAULT_PAGE
    ) -> tuple[AgentInfo, ...]:
        """List the first agents of a group by id; raises ScalingGroupNotFound, InvalidLimit. Two statements."""
        check_name(scaling_group, "scaling group")
        check_limit(limit)
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_agents(db_sess, AgentFilter(scaling_group=scaling_group), None, limit)
            if not rows.agents:
                await require_group(db_sess, scaling_group)
        return agent_infos(rows)

    @_resilience.apply(OperationKind.READ)
    async def search_agents(
        self,
        wanted: Optional[AgentFilter] = None,
        limit: int = DEFAULT_PAGE,
        cursor: Optional[Cursor] = None,
    ) -> Page[AgentInfo]:
        """Search agents, by id, page by page; raises InvalidFilter, InvalidLimit, InvalidCursor.

        Costs two statements, on page 1,000 as on page 1.
        """
        asked = checked_filter(wanted, AgentFilter).in_one_spelling()
        check_limit(limit)
        after = None if cursor is None else _SEARCH_AGENTS.decode(asked, cursor)[0]
        async with self._engine.begin_readonly_session() as db_sess:
            # One more than a page says whether there is another.
            rows = await fetch_agents(db_sess, asked, after, limit + 1)
        found = agent_infos(rows)
        items = found[:limit]
        more = len(found) > limit
        return Page(items, _SEARCH_AGENTS.encode(asked, (items[-1].agent_id,)) if more else None)

    async def _find(self, agent_id: AgentId) -> Optional[Agent]:
        check_name(agent_id, "agent id")
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_agent(db_sess, agent_id)
        return agent_of(rows)

    @_resilience.apply(OperationKind.WRITE)
    async def register_agents(
        self, agents: Sequence[AgentSpec], operation_id: Optional[OperationId] = None
    ) -> None:
        """Register agents as alive and empty, all or none.

        Raises AgentAlreadyExists, ScalingGroupNotFound, UnknownSlotType, InvalidQuantity, OperationMismatch and
        OutcomeUnknown. Costs six statements, whatever the number.
        """
        check_agents(agents)
        if not agents:
            return

        async def register(write: WriteTransaction) -> None:
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
        check_name(scaling_group, "scaling group")
        check_lease(lease)
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
        given: object = to_status
        if not isinstance(given, AgentStatus) or given not in _ASKED_FOR:
            raise InvalidInput(
                f"agents cannot be put to {quoted(given)}; give one of {', '.join(_ASKED_FOR)}, and see "
                "mark_lost_agents() for LOST"
            )
        check_agent_ids(agent_ids)
        check_lease(lease)
        if reason is not None:
            check_text(reason, "reason")
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
    async def set_agents_schedulable(
        self,
        agent_ids: Sequence[AgentId],
        is_schedulable: bool,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentSwitchResult:
        """Open agents for scheduling, or close them, agent by agent; costs four statements."""
        check_agent_ids(agent_ids)
        check_flag(is_schedulable, "is_schedulable")
        check_lease(lease)
        if not agent_ids:
            return AgentSwitchResult(is_schedulable, (), (), ())
        scaling_group = None if lease is None else lease.scaling_group
        return await _SWITCH_AGENTS.run(
            self._engine,
            lambda write: switch_batch(write, agent_ids, is_schedulable, scaling_group),
            request=(agent_ids, is_schedulable),
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
        check_agent_ids([report.agent_id for report in checked_batch(reports, AgentReport, "reports")])
        check_lease(lease)
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
        raise InvalidInput(f"longest_silence is {quoted(longest_silence)}, it must be a timedelta above 0")


def check_agents(agents: object) -> None:
    """Raise InvalidInput for what is no list of specs, or names what cannot be; asks nothing."""
    for agent in checked_batch(agents, AgentSpec, "agents"):
        _check_agent(agent)


def _check_agent(agent: AgentSpec) -> None:
    check_name(agent.agent_id, "an agent's id")
    subject = f"agent {agent.agent_id}"
    check_name(agent.scaling_group, f"{subject}, scaling group")
    check_text(agent.address, f"{subject}, address")
    check_text(agent.architecture, f"{subject}, architecture")
    if agent.max_containers is not None:
        containers = f"{subject}, max_containers"
        checked_int32(checked_quantity(agent.max_containers, containers), containers)


async def insert_agents(
    db_sess: SASession, agents: Sequence[AgentSpec], slot_names: Sequence[SlotName]
) -> None:
    """Add agents, their slots and history in the session's transaction."""
    agent_rows: list[tuple[object, ...]] = []
    slot_rows: list[tuple[object, ...]] = []
    for agent in agents:
        subject = f"agent {agent.agent_id}"
        slot_vector(agent.capacity, slot_names, subject)
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
