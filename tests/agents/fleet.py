"""Agents with sessions on them, and what the rows say of both."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final, Optional

import msgspec

from scheduler_repo.entities.agent import AgentReport, AgentSpec, RejectedAgentTransition
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import AgentId, SlotName
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import CPU, GROUP, MEM, cluster

A1: Final = AgentId("a1")
A2: Final = AgentId("a2")
A3: Final = AgentId("a3")
NOBODY: Final = AgentId("nobody")
MINUTE: Final = timedelta(minutes=1)


class Slot(msgspec.Struct, frozen=True):
    """One row of the ledger."""

    capacity: int
    occupied: int
    reported: Optional[int]


def report(agent_id: AgentId, cpu: int = 10, mem: int = 100, **more: int) -> AgentReport:
    """What an agent of ten cores reports, and other slots by name."""
    return AgentReport(agent_id, {CPU: cpu, MEM: mem, **{SlotName(name): more[name] for name in more}})


def reasons(rejected: Iterable[RejectedAgentTransition]) -> list[tuple[str, str]]:
    """Who was left as it is, and why."""
    return [(each.agent_id, each.code) for each in rejected]


class Fleet:
    """A cluster, and a look at its rows."""

    def __init__(self, load: Load, scheduler: SchedulerRepository, connection: DriverConnection) -> None:
        self._load = load
        self._scheduler = scheduler
        self.connection = connection

    async def given(
        self,
        agents: Iterable[AgentSpec],
        sessions: Iterable[SessionCreationSpec] = (),
        placed: Iterable[SessionAllocation] = (),
    ) -> None:
        """Make agents, and sessions of which some are placed."""
        await self._load(cluster(list(agents), list(sessions)))
        assert (await self._scheduler.allocate_sessions(GROUP, list(placed))).rejected == ()

    async def set_silent(self, *agent_ids: str, minutes: int = 60) -> None:
        """Have agents not heard of for a time."""
        since = f"now() - interval '{minutes} minutes'"
        await self.connection.execute(
            f"UPDATE agent_heartbeats SET heartbeat_at = {since} WHERE agent_id = ANY ($1)", agent_ids
        )
        await self.connection.execute(
            f"UPDATE agents SET created_at = {since}, status_changed_at = {since} WHERE id = ANY ($1)",
            agent_ids,
        )

    async def set_status(self, status: str, *agent_ids: str) -> None:
        """Have agents in a status, however they came to it."""
        await self.connection.execute("UPDATE agents SET status = $1 WHERE id = ANY ($2)", status, agent_ids)

    async def status(self, agent_id: str) -> tuple[str, str]:
        """The agent's status, and what it returns as."""
        row = await self.connection.fetchrow("SELECT status, returns_as FROM agents WHERE id = $1", agent_id)
        assert row is not None
        return row["status"], row["returns_as"]

    async def history(self, agent_id: str) -> list[tuple[Optional[str], str, Optional[str]]]:
        """The changes of the agent's status, and their reasons."""
        rows = await self.connection.fetch(
            "SELECT from_status, to_status, reason FROM agent_history WHERE agent_id = $1 ORDER BY id", agent_id
        )
        return [(row["from_status"], row["to_status"], row["reason"]) for row in rows]

    async def slots(self, agent_id: str) -> dict[str, Slot]:
        """The agent's ledger."""
        rows = await self.connection.fetch(
            "SELECT slot_name, capacity, occupied, reported_capacity FROM agent_slots WHERE agent_id = $1",
            agent_id,
        )
        return {
            row["slot_name"]: Slot(row["capacity"], row["occupied"], row["reported_capacity"]) for row in rows
        }

    async def max_containers(self, agent_id: str) -> Optional[int]:
        """How many containers the agent takes."""
        found: Optional[int] = await self.connection.fetchval(
            "SELECT max_containers FROM agents WHERE id = $1", agent_id
        )
        return found

    async def was_heard(self, agent_id: str) -> bool:
        """Whether the agent was heard of within the last minute."""
        heard: bool = await self.connection.fetchval(
            "SELECT EXISTS (SELECT FROM agent_heartbeats"
            " WHERE agent_id = $1 AND heartbeat_at BETWEEN now() - interval '1 minute' AND clock_timestamp())",
            agent_id,
        )
        return heard
