"""Agents: read, registered, heard of, lost and returned, opened and closed, drained, resumed and terminated."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Optional

from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.lookups import fetch_slot_names, require_group
from scheduler_repo.database.row_locks import STATUS_ROWS, run_in_two_tries
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
from scheduler_repo.entities.lease import Lease, check_lease
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.entities.spec import checked_filter
from scheduler_repo.errors import AgentNotFound
from scheduler_repo.quoting import quoted
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.admission.agents import (
    GONE_STATUSES,
    LockedAgents,
    StatusDecisions,
    decide_reports,
    decide_status_changes,
    decide_switches,
    reject_blocked,
)
from scheduler_repo.steps import Steps, finish_in_slices
from scheduler_repo.types import AgentId, AgentStatus, OperationId, ScalingGroupName
from scheduler_repo.validation import (
    check_agent_ids,
    check_count,
    check_duration,
    check_kind,
    check_limit,
    check_name,
    check_reason,
    check_text,
    checked_batch,
)

_resilience = layer_resilience(LayerType.AGENT_REPOSITORY)

_REGISTER_AGENTS = IdempotentWrite("register_agents", type(None))
_MARK_LOST_AGENTS = IdempotentWrite("mark_lost_agents", AgentTransitionResult)
_MOVE_AGENTS = IdempotentWrite("move_agents", AgentTransitionResult)
_RETURN_AGENTS = IdempotentWrite("return_agents", AgentReportResult)
_SWITCH_AGENTS = IdempotentWrite("set_agents_schedulable", AgentSwitchResult)

_CURSORS = CursorCodec("search_agents", tuple[AgentId])
_LONGEST_SILENCE: Final = timedelta(days=36_500)


class AgentRepository(Repository[AgentDBSource]):
    """Reads agents, registers them, and takes them through their life.

    Except for registering, every write answers agent by agent: an agent that is unknown, of another group than
    the lease's, or whose change the table of transitions does not allow is rejected, and the rest goes through.
    Each change of status leaves a history row. Asking again under the same ``operation_id`` answers the same
    and writes nothing twice. All raise InvalidInput for an id that is no text, and the errors of the database
    layer; writes StaleLeaseError, OperationMismatch and OutcomeUnknown too, and then, except after
    OutcomeUnknown, nothing was written. The number of statements does not depend on the number of agents; a
    write with a lease costs one more.
    """

    source_type = AgentDBSource

    @_resilience.apply(OperationKind.READ)
    async def get_agent(self, agent_id: AgentId) -> Agent:
        """Return one agent: what it is, when it was last heard of, and its ledger, slot by slot.

        Amounts are in each slot's smallest unit. Raises AgentNotFound. Costs two statements.
        """
        found = await self._find(agent_id)
        if found is None:
            raise AgentNotFound(
                f"there is no agent {quoted(agent_id, 200)}; correct the id or register the agent",
                agent_id=agent_id,
            )
        return found

    @_resilience.apply(OperationKind.READ)
    async def find_agent(self, agent_id: AgentId) -> Optional[Agent]:
        """Return an agent as ``get_agent`` does, or None if no agent has this id. Costs two statements."""
        return await self._find(agent_id)

    @_resilience.apply(OperationKind.READ)
    async def list_agents(
        self, scaling_group: ScalingGroupName, limit: int = DEFAULT_PAGE
    ) -> tuple[AgentInfo, ...]:
        """List the agents of a group by id, whatever their status, at most ``limit`` (1 to 1,000) of them.

        ``search_agents`` has pages. Raises ScalingGroupNotFound and InvalidLimit. Costs two statements.
        """
        check_name(scaling_group, "scaling group")
        check_limit(limit)
        wanted = AgentFilter(scaling_group=scaling_group)
        async with self._db.begin_readonly_session() as db_sess:
            found = await self._db_source.search_agents(db_sess, wanted, None, limit)
            if not found.rows:
                await require_group(db_sess, scaling_group)
        return await found.reader.read(found.rows)

    @_resilience.apply(OperationKind.READ)
    async def search_agents(
        self, wanted: Optional[AgentFilter] = None, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[AgentInfo]:
        """Return one page of the agents that a filter finds, by id; None finds all.

        ``limit`` is at most 1,000; ``cursor`` is ``next_cursor`` of the page before, with the same filter. An
        agent that is registered meanwhile is found if its id is behind the cursor; none is found twice. Raises
        InvalidFilter, InvalidLimit and InvalidCursor. Costs two statements, on page 1,000 as on page 1.
        """
        asked = checked_filter(wanted, AgentFilter).in_one_spelling()
        check_limit(limit)
        after = None if cursor is None else _CURSORS.decode(asked, cursor)[0]
        found = await self._read(self._db_source.search_agents, asked, after, limit + 1)
        return await found.reader.page(_CURSORS, asked, found.rows, limit, lambda row: (row["agent_id"],))

    @_resilience.apply(OperationKind.WRITE)
    async def register_agents(
        self, agents: Sequence[AgentSpec], *, operation_id: Optional[OperationId] = None
    ) -> None:
        """Register agents as alive and empty, all or none; costs six statements.

        Raises AgentAlreadyExists, ScalingGroupNotFound, UnknownSlotType and InvalidQuantity.
        """
        await finish_in_slices(check_agents(agents))
        if not agents:
            return

        async def register(write: WriteTransaction) -> None:
            slot_names = await fetch_slot_names(write.db_sess)
            await self._db_source.insert_agents(write.db_sess, agents, slot_names)

        await _REGISTER_AGENTS.run(self._db, register, request=agents, operation_id=operation_id)

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def record_heartbeats(self, agent_ids: Sequence[AgentId]) -> HeartbeatResult:
        """Record that agents were heard of now, by the database's clock.

        A time never goes back for an agent, unless it was stored by a clock that was ahead of now.

        A lost or terminated agent stays so and is answered as ``returning``: have it report, and pass that to
        ``return_agents``. An agent that is being marked as lost at this very moment is ``returning`` the next
        time. There is no operation id: recording twice does no harm. Costs one statement.
        """
        check_agent_ids(agent_ids)
        if not agent_ids:
            return HeartbeatResult((), (), ())

        async def record(skips_locked: bool) -> HeartbeatResult:
            async with self._db.begin_batch_session(skips_locked=skips_locked) as db_sess:
                statuses, blocked = await self._db_source.record_heartbeats(db_sess, agent_ids)
            wanted = dict.fromkeys(agent_ids)
            return HeartbeatResult(
                tuple(each for each in wanted if each in statuses),
                tuple(each for each in wanted if each not in statuses and each not in blocked),
                tuple(each for each in wanted if statuses.get(each) in GONE_STATUSES),
                tuple(reject_blocked(each, blocked[each]) for each in wanted if each in blocked),
            )

        return await run_in_two_tries(self._db, record)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_lost_agents(
        self,
        scaling_group: ScalingGroupName,
        longest_silence: timedelta,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentTransitionResult:
        """Mark the alive and draining agents of a group as LOST that were not heard of for ``longest_silence``.

        An agent that was never heard of counts from its last change of status. A time after now, of a clock
        that was ahead, is not believed: put right such a clock, and let the agents be heard of before calling
        this. A heartbeat that is recorded
        before the agent's row is locked for the change wins. Sessions on lost agents stay as they are:
        ``recover_lost_sessions`` follows, and finds them whenever it is called.

        The clock is the database's, and no heartbeat is recorded while the database is down: after an outage
        let the agents be heard of before calling this again, or all of them are lost. Raises
        ScalingGroupNotFound, and InvalidInput for a time that is not above 0 or a lease of another group. Costs
        five statements; time grows with the number of agents.
        """
        check_name(scaling_group, "scaling group")
        check_lease(lease, scaling_group)
        check_duration(
            longest_silence,
            "longest_silence",
            f"a timedelta above 0, at most {_LONGEST_SILENCE.days} days",
            most=_LONGEST_SILENCE,
        )

        async def mark_lost(write: WriteTransaction) -> AgentTransitionResult:
            source = self._db_source
            lost, blocked = await source.lock_silent_agents(write.db_sess, scaling_group, longest_silence)
            await source.change_statuses(write.db_sess, lost)
            rejected = [reject_blocked(agent_id, row) for agent_id, row in sorted(blocked.items())]
            return StatusDecisions(lost, rejected=rejected).result(AgentStatus.LOST, write.transaction_id)

        return await _MARK_LOST_AGENTS.run(
            self._db,
            mark_lost,
            request=(scaling_group, longest_silence),
            operation_id=operation_id,
            lease=lease,
        )

    @_resilience.apply(OperationKind.WRITE)
    async def drain_agents(
        self,
        agent_ids: Sequence[AgentId],
        reason: Optional[str] = None,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentTransitionResult:
        """Give agents no more kernels, and let those that they run go on, until they are resumed.

        That holds over a loss and a return. An agent that is lost or terminated now, or is draining because it
        has less than what it runs, is ``deferred``: it is draining when that is over. Costs seven statements.
        """
        return await self._change_status(AgentStatus.DRAINING, agent_ids, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def resume_agents(
        self,
        agent_ids: Sequence[AgentId],
        reason: Optional[str] = None,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentTransitionResult:
        """Give draining agents kernels again, as many as fit what they last reported.

        An agent that is lost or terminated, or was drained and has less than what it runs, is ``deferred``: it
        takes kernels when it is back, or when it reports and all fits. One that is draining only because it
        has less than what it runs is resumed if that fits meanwhile, else rejected (SHRUNK). Costs seven
        statements.
        """
        return await self._change_status(AgentStatus.ALIVE, agent_ids, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def terminate_agents(
        self,
        agent_ids: Sequence[AgentId],
        reason: Optional[str] = None,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentTransitionResult:
        """Mark agents as gone for good; they stay on record, and come back only by ``return_agents``.

        An agent that kernels occupy is rejected (OCCUPIED): drain it and wait for them to end, or recover the
        sessions of a lost one. Costs seven statements.
        """
        return await self._change_status(AgentStatus.TERMINATED, agent_ids, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def set_agents_schedulable(
        self,
        agent_ids: Sequence[AgentId],
        is_schedulable: bool,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentSwitchResult:
        """Give agents no more kernels from the next tick on (False), or give them kernels again (True).

        This is the operators' switch beside the status: it stays as it was put when the agent is drained, lost,
        terminated or returned. What runs goes on, no history row is written. Costs four statements.
        """
        check_agent_ids(agent_ids)
        check_kind(is_schedulable, bool, "is_schedulable")
        check_lease(lease)
        if not agent_ids:
            return AgentSwitchResult(is_schedulable, (), (), ())

        async def switch(write: WriteTransaction) -> AgentSwitchResult:
            blocked = await self._db_source.find_blocked(write.db_sess, agent_ids, *STATUS_ROWS)
            agents = await self._db_source.lock_agents(write.db_sess, {*agent_ids}.difference(blocked))
            locked = LockedAgents(lease, agents, blocked=blocked)
            steps = decide_switches(agent_ids, is_schedulable, locked, write.transaction_id)
            result = await finish_in_slices(steps)
            await self._db_source.switch_agents(write.db_sess, result.changed, is_schedulable)
            return result

        return await _SWITCH_AGENTS.run(
            self._db, switch, request=(agent_ids, is_schedulable), operation_id=operation_id, lease=lease
        )

    @_resilience.apply(OperationKind.WRITE)
    async def return_agents(
        self,
        reports: Sequence[AgentReport],
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentReportResult:
        """Store what agents report of themselves, when they come back and whenever what they have changes.

        An agent that was lost or terminated is back as its operators want it: ALIVE, or DRAINING if it was
        drained. A report counts as a heartbeat. Slots that an agent has and does not report count as reported
        0, new ones are added. Sessions of a lost agent that were not recovered yet go on; an agent must end the
        kernels of those that were, because its ledger gives their room to others.

        The ledger follows a report in which all fits that the agent runs. If it does not, in one slot or in
        containers, the report is stored, the ledger's capacity stays, and the agent drains and is answered as
        ``shrunk``; nothing is ended, the caller may end sessions until it fits. The first report in which all
        fits ends that, except for an agent that ``drain_agents`` drained too: one that lost a GPU for an hour
        comes back by itself, one that an operator took out does not. An agent that does not report again is
        brought back by ``resume_agents``, which goes by its last report.

        An agent with an amount that is no whole number from 0 to 2^63 - 1 (INVALID_AMOUNT), a slot that the
        cluster does not have (UNKNOWN_SLOT) or another architecture while kernels occupy it (OCCUPIED) is
        rejected whole. Costs nine statements; time grows with agents and slots.
        """
        check_agent_ids([report.agent_id for report in checked_batch(reports, AgentReport, "reports")])
        check_lease(lease)
        if not reports:
            return AgentReportResult((), (), (), (), ())

        async def settle(write: WriteTransaction) -> AgentReportResult:
            db_sess, source = write.db_sess, self._db_source
            slot_names = await fetch_slot_names(db_sess)
            blocked = await source.find_blocked_reports(db_sess, reports)
            agent_ids = {report.agent_id for report in reports}.difference(blocked)
            agents = await source.lock_agents(db_sess, agent_ids)
            locked = LockedAgents(lease, agents, await source.lock_slots(db_sess, agents), blocked=blocked)
            decisions = await finish_in_slices(decide_reports(reports, locked, slot_names))
            await source.write_reports(db_sess, decisions)
            return decisions.result(write.transaction_id)

        return await _RETURN_AGENTS.run(
            self._db, settle, request=reports, operation_id=operation_id, lease=lease
        )

    async def _find(self, agent_id: AgentId) -> Optional[Agent]:
        check_name(agent_id, "agent id")
        return await self._read(self._db_source.find_agent, agent_id)

    async def _change_status(
        self,
        to_status: AgentStatus,
        agent_ids: Sequence[AgentId],
        reason: Optional[str],
        lease: Optional[Lease],
        operation_id: Optional[OperationId],
    ) -> AgentTransitionResult:
        check_agent_ids(agent_ids)
        check_lease(lease)
        check_reason(reason)
        if not agent_ids:
            return AgentTransitionResult(to_status, (), ())

        async def change(write: WriteTransaction) -> AgentTransitionResult:
            db_sess, source = write.db_sess, self._db_source
            blocked = await source.find_blocked(db_sess, agent_ids, *STATUS_ROWS)
            agents = await source.lock_agents(db_sess, {*agent_ids}.difference(blocked))
            slots = await source.lock_slots(db_sess, agents)
            counts = await source.count_kernels(db_sess, agents)
            locked = LockedAgents(lease, agents, slots, counts, blocked)
            decisions = await finish_in_slices(decide_status_changes(agent_ids, to_status, reason, locked))
            await source.change_statuses(db_sess, decisions.changes)
            await source.change_capacity(db_sess, decisions.capacity_changes)
            return decisions.result(to_status, write.transaction_id)

        return await _MOVE_AGENTS.run(
            self._db, change, request=(to_status, agent_ids, reason), operation_id=operation_id, lease=lease
        )


def check_agents(agents: object) -> Steps[None]:
    """Raise InvalidInput unless it is a list of specs whose values can be stored."""
    for agent in checked_batch(agents, AgentSpec, "agents"):
        check_name(agent.agent_id, "an agent's id")
        subject = f"agent {agent.agent_id}"
        check_name(agent.scaling_group, f"{subject}, scaling group")
        check_text(agent.address, f"{subject}, address")
        check_text(agent.architecture, f"{subject}, architecture")
        check_count(agent.max_containers, f"{subject}, max_containers")
        yield
