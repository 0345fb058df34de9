"""Agents: read, registered, heard of, lost and returned, opened and closed, drained, resumed and terminated."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Optional

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
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, Page
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import AgentId, AgentStatus, OperationId, ScalingGroupName

_resilience = layer_resilience(LayerType.AGENT_REPOSITORY, retries=False)


class AgentRepository:
    """Reads agents, registers them, and takes them through their life.

    Save for registering, every write answers agent by agent: what is unknown, or not allowed by the table of
    transitions, is rejected, the rest goes through. Each change of status leaves a history row. With a lease,
    agents of other groups are rejected too. Asking again under the same ``operation_id`` answers the same and
    writes nothing twice. All raise InvalidInput for an id that is no text, and the errors of the database
    layer; writes StaleLeaseError, OperationMismatch and OutcomeUnknown too, and then, save after
    OutcomeUnknown, nothing was written. Each costs one transaction with a number of statements that does not
    depend on the number of agents.
    """

    def __init__(self, db_source: AgentDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.READ)
    async def get_agent(self, agent_id: AgentId) -> Agent:
        """Return one agent: what it is, when it was last heard of, and its ledger, slot by slot.

        Amounts are in each slot's smallest unit. Raises AgentNotFound, and InvalidInput for an id that is none.
        Costs two statements.
        """
        return await self._db_source.get_agent(agent_id)

    @_resilience.apply(OperationKind.READ)
    async def find_agent(self, agent_id: AgentId) -> Optional[Agent]:
        """Do as ``get_agent`` does, and answer None if there is no agent of this id."""
        return await self._db_source.find_agent(agent_id)

    @_resilience.apply(OperationKind.READ)
    async def list_agents(
        self, scaling_group: ScalingGroupName, limit: int = DEFAULT_PAGE
    ) -> tuple[AgentInfo, ...]:
        """List the agents of a group by id, whatever their status, at most ``limit`` (1 to 1,000) of them.

        Who needs those behind them asks ``search_agents``, which has pages. Raises ScalingGroupNotFound and
        InvalidLimit. Costs two statements.
        """
        return await self._db_source.list_agents(scaling_group, limit)

    @_resilience.apply(OperationKind.READ)
    async def search_agents(
        self,
        wanted: Optional[AgentFilter] = None,
        limit: int = DEFAULT_PAGE,
        cursor: Optional[Cursor] = None,
    ) -> Page[AgentInfo]:
        """Search agents, by id, at most ``limit`` (1 to 1,000) to a page; None finds all.

        ``next_cursor`` of a page, given as ``cursor`` with the same filter, asks for the next one. An agent
        that is registered meanwhile is found if its id is behind the cursor; none is found twice. Raises
        InvalidFilter, InvalidLimit and InvalidCursor. Costs two statements, on page 1,000 as on page 1.
        """
        return await self._db_source.search_agents(wanted, limit, cursor)

    @_resilience.apply(OperationKind.WRITE)
    async def register_agents(
        self, agents: Sequence[AgentSpec], operation_id: Optional[OperationId] = None
    ) -> None:
        """Register agents as alive and empty, all or none.

        Raises AgentAlreadyExists, ScalingGroupNotFound, UnknownSlotType, InvalidQuantity, OperationMismatch and
        OutcomeUnknown. Costs six statements, whatever the number.
        """
        await self._db_source.register_agents(agents, operation_id)

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def record_heartbeats(self, agent_ids: Sequence[AgentId]) -> HeartbeatResult:
        """Record that agents were heard of now, by the database's clock, which never goes back for an agent.

        A lost or terminated agent stays so and is answered as ``returning``: have it report, and pass that to
        ``return_agents``. An agent that is marked as lost at this very moment is that the next time. It
        takes no operation id: recorded twice is recorded. Costs one statement, whatever the number.
        """
        return await self._db_source.record_heartbeats(agent_ids)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_lost_agents(
        self,
        scaling_group: ScalingGroupName,
        longest_silence: timedelta,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentTransitionResult:
        """Mark the alive and draining agents of a group as LOST that were not heard of for ``longest_silence``.

        An agent that was never heard of counts from its last change of status. A heartbeat that is recorded
        before the agent's row is locked for the change wins. Sessions on lost agents stay as they are:
        ``recover_lost_sessions`` follows, and finds them whenever it is called.

        The clock is the database's alone, so nobody is heard of while the database is down: after an outage
        let agents be heard of again before this is called again, else all of them are lost.

        Raises InvalidInput for a time that is not above 0 or a lease of another group. Costs five
        statements, six with a lease; time grows with the number of agents.
        """
        return await self._db_source.mark_lost_agents(scaling_group, longest_silence, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def drain_agents(
        self,
        agent_ids: Sequence[AgentId],
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentTransitionResult:
        """Have agents take no more kernels, and keep those that they run, until they are resumed.

        That holds over a loss and a return. An agent that is lost or terminated now, or is draining because it
        has less than what it runs, is ``deferred``: it is draining when that is over. Costs seven statements,
        eight with a lease.
        """
        return await self._db_source.move_agents(AgentStatus.DRAINING, agent_ids, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def resume_agents(
        self,
        agent_ids: Sequence[AgentId],
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentTransitionResult:
        """Have draining agents take kernels again, as many as fit what they last reported.

        An agent that is lost or terminated, or was drained and has less than what it runs, is ``deferred``: it
        takes kernels when it is back, or when it reports and all fits. One that is draining for no other cause
        than having less than what it runs is resumed if that fits meanwhile, else rejected (SHRUNK). Costs
        seven statements, eight with a lease.
        """
        return await self._db_source.move_agents(AgentStatus.ALIVE, agent_ids, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def terminate_agents(
        self,
        agent_ids: Sequence[AgentId],
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentTransitionResult:
        """Say that agents are gone for good; they stay on record, and come back only by ``return_agents``.

        An agent on which kernels occupy is rejected (OCCUPIED): drain it and wait for them to end, or recover
        the sessions of a lost one. Costs seven statements, eight with a lease.
        """
        return await self._db_source.move_agents(AgentStatus.TERMINATED, agent_ids, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def set_agents_schedulable(
        self,
        agent_ids: Sequence[AgentId],
        is_schedulable: bool,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentSwitchResult:
        """Have agents take no more kernels from the next tick on (False), or take them again (True).

        It is the operators' switch beside the status: whatever becomes of the agent, drained, lost,
        terminated or returned, it stays as it was put. What runs goes on. As the status stays, no history row
        is written. Costs four statements, five with a lease.
        """
        return await self._db_source.set_agents_schedulable(agent_ids, is_schedulable, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def return_agents(
        self,
        reports: Sequence[AgentReport],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AgentReportResult:
        """Take what agents report of themselves, when they come back and whenever what they have has changed.

        Who was lost or terminated is back, as what its operators want: ALIVE, or DRAINING if it was drained. A
        report counts as a heartbeat. Slots that an agent had and does not report count as reported 0, new ones
        are added. Sessions of a lost agent that were not recovered yet go on; an agent must end the kernels of
        those that were, for its ledger gives their room to others.

        What is reported is stored in any case, but the ledger follows it only where all that the agent runs
        fits. An agent with less, in one slot or in containers, keeps what it runs and its ledger's capacity, is
        put to DRAINING, so that nothing more comes on it, and is answered as ``shrunk``: who calls may end
        sessions until it fits, nothing is ended here. That is over with the first report in which all fits:
        capacity follows, and the agent takes kernels again, unless it was drained by ``drain_agents`` too,
        which only ``resume_agents`` ends. So an agent that lost a GPU for an hour comes back by itself, and one
        that an operator took out does not. An agent that reports once only is brought back by
        ``resume_agents``, by that report.

        An agent with an amount that is no whole number from 0 to 2^63 - 1 (INVALID_AMOUNT), a slot that the
        cluster does not have (UNKNOWN_SLOT) or another architecture while kernels occupy it (OCCUPIED) is
        rejected whole. Costs nine statements, ten with a lease; time grows with agents and slots.
        """
        return await self._db_source.return_agents(reports, lease, operation_id)
