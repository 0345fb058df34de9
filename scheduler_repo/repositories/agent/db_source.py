"""The statements of agents: they lock agents by id, then their slots by id and name, as every writer does."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, Optional, TypeVar, Union

from scheduler_repo.database.bulk import copy_rows
from scheduler_repo.database.engine import SASession, skips_locked
from scheduler_repo.database.lookups import require_group
from scheduler_repo.database.row_locks import (
    HEARTBEAT_ROWS,
    REPORT_ROWS,
    SLOT_TYPES,
    STATUS_ROWS,
    RowLocks,
    take_all,
    take_rows,
)
from scheduler_repo.database.statements import change_rows, expect_rows, fetch_rows, load_statement
from scheduler_repo.entities.agent import Agent, AgentFilter, AgentInfo, AgentReport, AgentSlot, AgentSpec
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.transitions import AGENT_TRANSITIONS, is_allowed
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.errors import UnknownWord
from scheduler_repo.metrics.reads import count_unreadable
from scheduler_repo.repositories.db_source import DBSource, RowReader, build_struct
from scheduler_repo.scheduling.admission.agents import (
    AgentFacts,
    AgentStatusChange,
    CapacityChange,
    LockedAgent,
    LockedSlot,
    ReportDecisions,
)
from scheduler_repo.slots import slot_vector
from scheduler_repo.steps import in_slices
from scheduler_repo.types import AgentId, AgentStatus, ScalingGroupName, SlotName
from scheduler_repo.validation import is_text

if TYPE_CHECKING:
    from asyncpg import Record

FIND_AGENT = load_statement("agent/find_agent")
SEARCH_AGENTS = load_statement("agent/search_agents")
AGENT_SLOTS = load_statement("agent/agent_slots")
RECORD_HEARTBEATS = load_statement("agent/record_heartbeats")
LOCK_AGENT_LIVES = load_statement("agent/lock_agent_lives")
LOCK_AGENT_REPORTS = load_statement("agent/lock_agent_reports")
SILENT_AGENTS = load_statement("agent/silent_agents")
STILL_SILENT_AGENTS = load_statement("agent/still_silent_agents")
OCCUPIED_AGENTS = load_statement("agent/occupied_agents")
CHANGE_AGENT_STATUSES = load_statement("agent/change_agent_statuses")
CHANGE_AGENT_FACTS = load_statement("agent/change_agent_facts")
CHANGE_AGENT_CAPACITY = load_statement("agent/change_agent_capacity")
SWITCH_AGENTS = load_statement("agent/switch_agents")

AgentT = TypeVar("AgentT", bound=AgentInfo)


class FoundAgents(NamedTuple):
    """Rows of search_agents.sql, and what builds agents of them."""

    rows: "list[Record]"
    reader: "RowReader[Record, AgentInfo]"


class AgentDBSource(DBSource):
    """Reads, adds, locks and changes agents; each method costs one statement, or says its cost.

    A change raises TransactionConflict if an agent is not as it was when it was locked.
    """

    async def find_agent(self, db_sess: SASession, agent_id: AgentId) -> Optional[Agent]:
        """Find one agent with its slots; costs two statements."""
        rows = await fetch_rows(db_sess, FIND_AGENT, agent_id)
        slots = await _fetch_slots(db_sess, [agent_id])
        for row in rows:
            return _build_agent(Agent, row, slots)
        return None

    async def search_agents(
        self, db_sess: SASession, wanted: AgentFilter, after: Optional[AgentId], limit: int
    ) -> FoundAgents:
        """List the agents that a filter finds by id, those behind ``after``; costs two statements, or one."""
        statuses = None if wanted.statuses is None else [status.value for status in wanted.statuses]
        asked = (wanted.scaling_group, statuses, wanted.is_schedulable, wanted.architecture, wanted.id_prefix)
        rows = await fetch_rows(db_sess, SEARCH_AGENTS, *asked, after, limit)
        slots = await _fetch_slots(db_sess, [row["agent_id"] for row in rows]) if rows else {}
        return FoundAgents(rows, RowReader("agent", partial(_build_agent, AgentInfo, slots=slots), "agent_id"))

    async def insert_agents(
        self, db_sess: SASession, agents: Sequence[AgentSpec], slot_names: Sequence[SlotName]
    ) -> None:
        """Add agents with their slots and history, all or none; costs three statements.

        Raises UnknownSlotType and InvalidQuantity.
        """
        async for agent in in_slices(agents):
            slot_vector(agent.capacity, slot_names, f"agent {agent.agent_id}")
        agent_rows = [
            (agent.agent_id, agent.scaling_group, agent.address, agent.architecture, agent.max_containers)
            for agent in agents
        ]
        # In one order: of two callers with the same agents the second waits, instead of deadlocking.
        agent_rows.sort(key=itemgetter(0))
        agent_columns = ("id", "scaling_group", "address", "architecture", "max_containers")
        await copy_rows(db_sess, "agents", agent_columns, agent_rows)
        slot_rows = (
            (agent.agent_id, slot_name, amount, amount)
            for agent in agents
            for slot_name, amount in agent.capacity.items()
        )
        slot_columns = ("agent_id", "slot_name", "capacity", "reported_capacity")
        await copy_rows(db_sess, "agent_slots", slot_columns, slot_rows)
        history_rows = ((agent.agent_id, AgentStatus.ALIVE.value) for agent in agents)
        await copy_rows(db_sess, "agent_history", ("agent_id", "to_status"), history_rows)

    async def record_heartbeats(
        self, db_sess: SASession, agent_ids: Iterable[AgentId]
    ) -> tuple[dict[AgentId, Optional[AgentStatus]], dict[AgentId, RowLocked]]:
        """Record that agents were heard of now, and return the status of each that exists, None if not known.

        Those of which another transaction has a row locked come apart.
        """
        free_ids, blocked = await take_all(db_sess, _storable(agent_ids), *HEARTBEAT_ROWS)
        rows = await fetch_rows(db_sess, RECORD_HEARTBEATS, free_ids)
        read = {row["agent_id"]: _read_words(row, "status") async for row in in_slices(rows)}
        statuses = {
            agent_id: None if isinstance(words, UnreadableRow) else words[0] for agent_id, words in read.items()
        }
        return statuses, blocked

    async def find_blocked(
        self, db_sess: SASession, agent_ids: Iterable[AgentId], *rows: RowLocks
    ) -> dict[AgentId, RowLocked]:
        """In a second try lock what is free of ``rows``, and return the agents of which another holds one.

        Costs nothing in a first try, else one statement for each kind of rows.
        """
        _, blocked = await take_all(db_sess, _storable(agent_ids), *rows)
        return blocked

    async def find_blocked_reports(
        self, db_sess: SASession, reports: Sequence[AgentReport]
    ) -> dict[AgentId, RowLocked]:
        """Do as ``find_blocked`` does with all that reports need, the types of their slots among it."""
        blocked = await self.find_blocked(db_sess, {report.agent_id for report in reports}, *REPORT_ROWS)
        if skips_locked(db_sess):
            named = {report.agent_id: [*filter(is_text, report.capacity)] for report in reports}
            names = sorted(set(chain.from_iterable(named.values())))
            locked: dict[SlotName, RowLocked] = await take_rows(db_sess, SLOT_TYPES, names)
            for agent_id, its_slots in named.items():
                for name in its_slots:
                    if name in locked:
                        blocked.setdefault(agent_id, locked[name])
        return blocked

    async def lock_agents(
        self, db_sess: SASession, agent_ids: Iterable[AgentId]
    ) -> dict[AgentId, Union[LockedAgent, UnreadableRow]]:
        """Lock the agents that exist."""
        rows = await fetch_rows(db_sess, LOCK_AGENT_LIVES, _storable(agent_ids))
        return {row["agent_id"]: _locked_agent(row) async for row in in_slices(rows)}

    async def lock_slots(
        self, db_sess: SASession, agent_ids: Iterable[AgentId]
    ) -> dict[AgentId, dict[SlotName, LockedSlot]]:
        """Lock the slots of agents that are locked."""
        slots: dict[AgentId, dict[SlotName, LockedSlot]] = {}
        rows = await fetch_rows(db_sess, LOCK_AGENT_REPORTS, _storable(agent_ids))
        async for agent_id, slot_name, *amounts in in_slices(rows):
            slots.setdefault(agent_id, {})[slot_name] = LockedSlot(*amounts)
        return slots

    async def lock_silent_agents(
        self, db_sess: SASession, scaling_group: ScalingGroupName, longest_silence: timedelta
    ) -> tuple[list[AgentStatusChange], dict[AgentId, RowLocked]]:
        """Lock the agents of a group that were not heard of for so long; return the loss of those still silent.

        Those of which another transaction has a row locked come apart. Raises ScalingGroupNotFound. Costs two
        statements, three if there are none.
        """
        blocked: dict[AgentId, RowLocked] = {}
        if skips_locked(db_sess):
            found = await fetch_rows(db_sess, SILENT_AGENTS.without_locks, scaling_group, longest_silence)
            blocked = await self.find_blocked(db_sess, [row["agent_id"] for row in found], *STATUS_ROWS)
            free = await fetch_rows(db_sess, SILENT_AGENTS.skipping_locked, scaling_group, longest_silence)
            locked = [row for row in free if row["agent_id"] not in blocked]
        else:
            locked = await fetch_rows(db_sess, SILENT_AGENTS, scaling_group, longest_silence)
        if not locked:
            await require_group(db_sess, scaling_group)
        agent_ids = [row["agent_id"] for row in locked]
        rows = await fetch_rows(db_sess, STILL_SILENT_AGENTS, agent_ids, longest_silence)
        silent, reason = {row["agent_id"] for row in rows}, f"not heard of for longer than {longest_silence}"
        lost = [
            # What it returns as stays, also where only a newer version knows the word.
            AgentStatusChange(agent_id, AgentStatus(status), AgentStatus.LOST, returns_as, reason)
            async for agent_id, status, returns_as in in_slices(locked)
            if agent_id in silent and is_allowed(AGENT_TRANSITIONS, AgentStatus(status), AgentStatus.LOST)
        ]
        return lost, blocked

    async def count_kernels(self, db_sess: SASession, agent_ids: Iterable[AgentId]) -> dict[AgentId, int]:
        """Count the kernels that occupy each agent; an agent without is left out."""
        rows = await fetch_rows(db_sess, OCCUPIED_AGENTS, sorted(agent_ids))
        return {row["agent_id"]: row["kernels"] for row in rows}

    async def change_statuses(self, db_sess: SASession, changes: Sequence[AgentStatusChange]) -> None:
        """Change the statuses of locked agents, with history."""
        columns = [[change[at] for change in changes] for at in range(len(AgentStatusChange._fields))]
        # All at once: the trigger that ends reservations takes those of all agents in one order.
        await expect_rows(db_sess, len(changes), CHANGE_AGENT_STATUSES, *columns)

    async def change_capacity(self, db_sess: SASession, changes: Sequence[CapacityChange]) -> None:
        """Change the capacities of locked agents; a slot that an agent did not have is added."""
        await change_rows(db_sess, CHANGE_AGENT_CAPACITY, len(CapacityChange._fields), changes)

    async def write_reports(self, db_sess: SASession, decisions: ReportDecisions) -> None:
        """Store what locked agents reported; costs four statements."""
        changes, facts = decisions.changes, decisions.facts
        await self.change_statuses(db_sess, [change for change in changes if not change.is_deferred])
        await change_rows(db_sess, CHANGE_AGENT_FACTS, len(AgentFacts._fields), facts)
        await self.change_capacity(db_sess, decisions.capacity_changes)
        # A report is a heartbeat: without it, a lost agent that has just returned would be lost again at once.
        heard = sorted(change.agent_id for change in changes)
        await expect_rows(db_sess, len(heard), RECORD_HEARTBEATS, heard)

    async def switch_agents(
        self, db_sess: SASession, agent_ids: Sequence[AgentId], is_schedulable: bool
    ) -> None:
        """Open locked agents for scheduling, or close them."""
        await expect_rows(db_sess, len(agent_ids), SWITCH_AGENTS, list(agent_ids), is_schedulable)


async def _fetch_slots(db_sess: SASession, agent_ids: Sequence[AgentId]) -> dict[AgentId, list[AgentSlot]]:
    slots: dict[AgentId, list[AgentSlot]] = {agent_id: [] for agent_id in agent_ids}
    for agent_id, *figures in await fetch_rows(db_sess, AGENT_SLOTS, agent_ids):
        slots[agent_id].append(AgentSlot(*figures))
    return slots


def _build_agent(
    kind: type[AgentT], row: "Record", slots: Mapping[AgentId, Sequence[AgentSlot]], **fields: object
) -> AgentT:
    own = tuple(slots[row["agent_id"]])
    return build_struct(kind, row, slots=own, **fields)


def _read_words(row: "Record", *columns: str) -> Union[list[AgentStatus], UnreadableRow]:
    """Return the statuses in some columns, or count and return the row with a word that is not known."""
    try:
        return [AgentStatus(row[column]) for column in columns]
    except UnknownWord as error:
        unreadable = UnreadableRow("agent", row["agent_id"], str(error))
        count_unreadable((unreadable,))
        return unreadable


def _locked_agent(row: "Record") -> Union[LockedAgent, UnreadableRow]:
    words = _read_words(row, "status", "returns_as")
    if isinstance(words, UnreadableRow):
        return words
    return LockedAgent(*row)._replace(status=words[0], returns_as=words[1])


def _storable(agent_ids: Iterable[AgentId]) -> list[AgentId]:
    """Order the ids that can be in the database, each once; no stored text holds a NUL."""
    return sorted({agent_id for agent_id in agent_ids if "\0" not in agent_id})
