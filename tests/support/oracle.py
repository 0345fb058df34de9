"""What SchedulingData must be: asked row by row in plain SQL, put together as plainly as can be.

Of the package it knows the structs of the answer alone. It looks at every row of every table, one query each.
"""

from collections.abc import Sequence
from typing import Optional, TypeAlias, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from scheduler_repo.entities.scheduling_data import (
    AgentGain,
    OwnerUsage,
    PendingKernel,
    PendingSession,
    PreemptionCandidate,
    Reservation,
    ReservedKernel,
    ScalingGroupInfo,
    SchedulableAgent,
    SchedulingData,
    SessionDependency,
)
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.entities.snapshot_token import DatabaseIdentity, Snapshot, SnapshotToken
from scheduler_repo.types import (
    AccessKey,
    ClusterMode,
    DomainName,
    PreemptionScope,
    ProjectId,
    ResourcePolicyName,
    SessionId,
    SessionResult,
    SessionStatus,
    SessionType,
    SlotName,
    UserId,
)
from tests.support.databases import DriverConnection

Owner = TypeVar("Owner", AccessKey, UserId, ProjectId, DomainName)


Row: TypeAlias = "asyncpg.Record"


_HOLDING = ("SCHEDULED", "PREPARING", "RUNNING", "TERMINATING")


async def naive_scheduling_data(
    connection: DriverConnection, group: str, pending_limit: Optional[int] = None
) -> Optional[SchedulingData]:
    """The answer for one group, or None if there is no such group."""
    oracle = _Oracle(connection)
    await oracle.look_at_everything()
    return await oracle.answer(group, pending_limit)


def as_naive(data: SchedulingData, naive: SchedulingData) -> SchedulingData:
    """``naive`` at the instant of ``data``: two reads have two instants."""
    token = msgspec.structs.replace(data.token, database=naive.token.database)
    return msgspec.structs.replace(naive, token=token, observed_at=data.observed_at)


class _Oracle:
    def __init__(self, connection: DriverConnection) -> None:
        self.connection = connection

    async def each(self, table: str) -> list[Row]:
        """Every row of a table, one query each."""
        places = await self.connection.fetch(f"SELECT ctid::text AS place FROM {table}")
        query = f"SELECT * FROM {table} WHERE ctid = $1::text::tid"
        return [await self.connection.fetchrow(query, place["place"]) for place in places]

    async def look_at_everything(self) -> None:
        self.sessions = await self.each("sessions")
        self.kernels = await self.each("kernels")
        self.agents = await self.each("agents")
        self.agent_slots = await self.each("agent_slots")
        self.quotas = await self.each("quotas")
        self.policies = {row["name"]: row for row in await self.each("resource_policies")}
        self.dependencies = await self.each("session_dependencies")
        self.reservations = await self.each("reservations")
        self.kernel_reservations = await self.each("kernel_reservations")
        self.slots = self.slot_types(await self.each("slot_types"))

    async def answer(self, group: str, pending_limit: Optional[int]) -> Optional[SchedulingData]:
        groups = await self.connection.fetch("SELECT * FROM scaling_groups WHERE name = $1", group)
        if not groups:
            return None
        pending = [row for row in self.sessions if (row["scaling_group"], row["status"]) == (group, "PENDING")]
        highest = max([row["priority"] for row in pending], default=None)
        pending.sort(key=lambda row: (-row["priority"], row["created_at"], row["id"].bytes))
        pending = pending if pending_limit is None else pending[:pending_limit]
        agents = [
            row
            for row in self.agents
            if row["scaling_group"] == group and row["status"] == "ALIVE" and row["is_schedulable"]
        ]
        agents.sort(key=lambda row: row["id"].encode())
        reservations = self.reservations_of(group)
        return SchedulingData(
            token=SnapshotToken(Snapshot(""), await self.database(), None),
            observed_at=await self.connection.fetchval("SELECT now()"),
            pending_limit=pending_limit,
            scaling_group=ScalingGroupInfo(
                groups[0]["name"],
                groups[0]["is_active"],
                groups[0]["pending_timeout"],
                scope_of(groups[0]),
                groups[0]["preemption_min_runtime"],
            ),
            slot_types=self.slots,
            pending_sessions=tuple([self.session(row) for row in pending]),
            agents=tuple([self.agent(row, reservations) for row in agents]),
            reservations=reservations,
            preemption_candidates=self.candidates(groups[0], highest),
            access_keys=self.owners("ACCESS_KEY", "access_key", [row["access_key"] for row in pending]),
            users=self.owners("USER", "user_id", [row["user_id"] for row in pending]),
            projects=self.owners("PROJECT", "project_id", [row["project_id"] for row in pending]),
            domains=self.owners("DOMAIN", "domain_name", [row["domain_name"] for row in pending]),
        )

    async def database(self) -> DatabaseIdentity:
        ask = self.connection.fetchval
        return DatabaseIdentity(
            await ask("SELECT system_identifier FROM pg_control_system()"),
            await ask("SELECT oid FROM pg_database WHERE datname = current_database()"),
            await ask("SELECT 'sessions'::regclass::oid"),
            await ask("SELECT pg_postmaster_start_time()"),
        )

    def slot_types(self, rows: list[Row]) -> tuple[SlotType, ...]:
        """One at each index up to the last; an index that nobody has any more is told apart by its name."""
        types = []
        for index in range(max([row["slot_index"] for row in rows], default=-1) + 1):
            found = [row for row in rows if row["slot_index"] == index]
            if found:
                (row,) = found
                types.append(SlotType(row["name"], index, row["units_per_whole"], row["display_unit"]))
            else:
                types.append(SlotType(SlotName(f"removed slot {index}"), index, 1, ""))
        return tuple(types)

    def session(self, row: Row) -> PendingSession:
        kernels = [
            kernel
            for kernel in self.kernels
            if kernel["session_id"] == row["id"] and kernel["status"] == "PENDING"
        ]
        kernels.sort(key=lambda kernel: kernel["kernel_index"])
        wanted = [link["depends_on"] for link in self.dependencies if link["session_id"] == row["id"]]
        wanted.sort(key=lambda session_id: session_id.bytes)
        return PendingSession(
            session_id=row["id"],
            name=row["name"],
            access_key=row["access_key"],
            user_id=row["user_id"],
            project_id=row["project_id"],
            domain_name=row["domain_name"],
            priority=row["priority"],
            session_type=SessionType(row["session_type"]),
            cluster_mode=ClusterMode(row["cluster_mode"]),
            created_at=row["created_at"],
            requested_start_at=row["requested_start_at"],
            designated_agent_ids=tuple(sorted(row["designated_agent_ids"], key=str.encode)),
            retry_count=row["retry_count"],
            failed_agent_ids=tuple(row["failed_agent_ids"]),
            kernels=tuple(
                [
                    PendingKernel(
                        kernel["id"],
                        kernel["kernel_index"],
                        kernel["architecture"],
                        tuple(kernel["requested_slots"]),
                    )
                    for kernel in kernels
                ]
            ),
            dependencies=tuple([self.dependency(session_id) for session_id in wanted]),
        )

    def dependency(self, session_id: SessionId) -> SessionDependency:
        for row in self.sessions:
            if row["id"] == session_id:
                result = None if row["result"] is None else SessionResult(row["result"])
                is_pending = row["status"] == "PENDING"
                is_hopeless = is_pending and not self.can_start(session_id, frozenset())
                return SessionDependency(
                    row["id"], SessionStatus(row["status"]), result, is_hopeless=is_hopeless
                )
        return SessionDependency(session_id, None, None)

    def can_start(self, session_id: SessionId, behind: frozenset[SessionId]) -> bool:
        """Whether a pending session may start some day: all that it depends on has succeeded, or may."""
        if session_id in behind:
            return False
        for link in self.dependencies:
            if link["session_id"] == session_id:
                found = [row for row in self.sessions if row["id"] == link["depends_on"]]
                if not found:
                    return False
                (other,) = found
                if other["status"] == "PENDING":
                    if not self.can_start(other["id"], behind | {session_id}):
                        return False
                elif other["status"] in ("CANCELLED", "ERROR") or (
                    other["status"] == "TERMINATED" and other["result"] != "SUCCESS"
                ):
                    return False
        return True

    def reservations_of(self, group: str) -> tuple[Reservation, ...]:
        """Those of the group that hold anything, by position."""
        rows = [row for row in self.reservations if row["scaling_group"] == group]
        rows.sort(key=lambda row: row["position"])
        reservations = []
        for row in rows:
            held = []
            for kernel in sorted(self.kernels, key=lambda kernel: (kernel["kernel_index"], kernel["id"].bytes)):
                for place in self.kernel_reservations:
                    if (place["kernel_id"], place["session_id"]) == (kernel["id"], row["session_id"]):
                        slots = tuple(kernel["requested_slots"])
                        held.append(ReservedKernel(kernel["id"], place["agent_id"], slots))
            if held:
                reservations.append(Reservation(row["session_id"], row["position"], tuple(held)))
        return tuple(reservations)

    def candidates(self, group: Row, highest: Optional[int]) -> tuple[PreemptionCandidate, ...]:
        """Who runs and is less important than the most important that waits."""
        if group["preemption_scope"] is None or highest is None:
            return ()
        running = [
            row
            for row in self.sessions
            if (row["scaling_group"], row["status"]) == (group["name"], "RUNNING") and row["priority"] < highest
        ]
        # By the last criterion first: sorting keeps the order of equals.
        running.sort(key=lambda row: row["id"].bytes)
        running.sort(key=lambda row: row["status_changed_at"], reverse=True)
        running.sort(key=lambda row: row["priority"])
        return tuple([self.candidate(row) for row in running])

    def candidate(self, row: Row) -> PreemptionCandidate:
        kernels = [
            kernel
            for kernel in self.kernels
            if kernel["session_id"] == row["id"] and kernel["status"] in _HOLDING
        ]
        agent_ids = sorted({kernel["agent_id"] for kernel in kernels}, key=str.encode)
        gains = []
        for agent_id in agent_ids:
            there = [kernel["occupied_slots"] for kernel in kernels if kernel["agent_id"] == agent_id]
            gains.append(AgentGain(agent_id, self.summed(there), len(there)))
        return PreemptionCandidate(
            session_id=row["id"],
            access_key=row["access_key"],
            user_id=row["user_id"],
            project_id=row["project_id"],
            domain_name=row["domain_name"],
            priority=row["priority"],
            running_since=row["status_changed_at"],
            gains=tuple(gains),
        )

    def agent(self, row: Row, reservations: Sequence[Reservation]) -> SchedulableAgent:
        capacity, occupied = [0] * len(self.slots), [0] * len(self.slots)
        for slot in self.agent_slots:
            for slot_type in self.slots:
                if slot["agent_id"] == row["id"] and slot["slot_name"] == slot_type.name:
                    capacity[slot_type.slot_index] = slot["capacity"]
                    occupied[slot_type.slot_index] = slot["occupied"]
        reserved = [
            kernel
            for reservation in reservations
            for kernel in reservation.kernels
            if kernel.agent_id == row["id"]
        ]
        return SchedulableAgent(
            agent_id=row["id"],
            address=row["address"],
            architecture=row["architecture"],
            container_count=row["container_count"],
            max_containers=row["max_containers"],
            capacity=tuple(capacity),
            occupied=tuple(occupied),
            reserved=self.summed([kernel.requested_slots for kernel in reserved]),
            reserved_containers=len(reserved),
        )

    def held_where(self, column: str, value: object) -> tuple[int, ...]:
        """What kernels hold, summed."""
        return self.summed(
            [
                kernel["occupied_slots"]
                for kernel in self.kernels
                if kernel[column] == value and kernel["status"] in _HOLDING
            ]
        )

    def summed(self, vectors: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """A sum as long as the slot types, and longer only for an amount beyond them."""
        held = [0] * 64
        for vector in vectors:
            for index, amount in enumerate(vector):
                held[index] += amount
        while len(held) > len(self.slots) and held[-1] == 0:
            held.pop()
        return tuple(held)

    def owners(self, scope: str, column: str, ids: Sequence[Owner]) -> tuple[OwnerUsage[Owner], ...]:
        ordered = sorted(set(ids), key=_bytes_of)
        return tuple([self.owner(scope, column, owner) for owner in ordered])

    def owner(self, scope: str, column: str, owner: Owner) -> OwnerUsage[Owner]:
        policy_name: Optional[ResourcePolicyName] = None
        policy: Optional[Row] = None
        own: Optional[Row] = None
        for quota in self.quotas:
            if (quota["scope"], quota["owner_id"]) == (scope, str(owner)):
                own, policy_name = quota, quota["resource_policy"]
                policy = None if policy_name is None else self.policies[policy_name]
        rows = [row for row in (policy, own) if row is not None]
        width = max([len(self.slots)] + [len(row["slot_limits"]) for row in rows])
        sessions = [row for row in self.sessions if row[column] == owner and row["status"] in _HOLDING]
        return OwnerUsage(
            owner_id=owner,
            occupied=self.held_where(column, owner),
            session_count=len(sessions),
            resource_policy=policy_name,
            slot_limits=tuple(
                [
                    _least([row["slot_limits"][i] for row in rows if i < len(row["slot_limits"])])
                    for i in range(width)
                ]
            ),
            max_concurrent_sessions=_least([row["max_concurrent_sessions"] for row in rows]),
            max_kernels_per_session=None if policy is None else policy["max_kernels_per_session"],
        )


def scope_of(group: Row) -> Optional[PreemptionScope]:
    scope = group["preemption_scope"]
    return None if scope is None else PreemptionScope(scope)


def _least(limits: Sequence[Optional[int]]) -> Optional[int]:
    given = [limit for limit in limits if limit is not None]
    return min(given) if given else None


def _bytes_of(owner: object) -> bytes:
    return owner.bytes if isinstance(owner, UUID) else str(owner).encode()
