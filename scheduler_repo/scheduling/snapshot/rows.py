"""RawSchedulingData: the rows of one snapshot, as the driver gave them, before any transform.

The row types say which columns each statement has, in their order; nothing constructs them. A test ties them
to the statements, as what is built by position is not validated.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple, Optional

import msgspec

from scheduler_repo.entities.scheduling_data import PendingKernel
from scheduler_repo.entities.snapshot_token import ServerLife
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.errors import UnknownWord
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    DomainName,
    KernelId,
    ProjectId,
    ResourcePolicyName,
    ScalingGroupName,
    SessionId,
    SlotName,
    UserId,
)

# A UUID is grouped by its bytes: hashing the driver's UUID objects takes four times as long.
bytes_of = attrgetter("bytes")


class SnapshotRow(NamedTuple):  # snapshot.sql
    observed_at: datetime
    snapshot: str
    system_identifier: int
    database_oid: int
    table_oid: int
    started_at: datetime
    schema_oid: Optional[int]
    log_oid: Optional[int]
    timeline: Optional[int]
    life: Optional[ServerLife]
    triggers: Optional[str]
    is_log_long: Optional[bool]


class GroupOptionsRow(NamedTuple):  # scaling_group.sql
    name: ScalingGroupName
    is_active: bool
    pending_timeout: Optional[timedelta]
    preemption_scope: Optional[str]
    preemption_min_runtime: timedelta


class IndexedSlotTypeRow(NamedTuple):  # slot_types.sql
    name: SlotName
    slot_index: int
    units_per_whole: int
    display_unit: str


class PendingSessionRow(NamedTuple):  # pending_sessions.sql
    session_id: SessionId
    name: str
    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName
    priority: int
    session_type: str
    cluster_mode: str
    created_at: bytes  # as PostgreSQL sends it: microseconds since 2000
    requested_start_at: Optional[datetime]
    designated_agent_ids: Optional[list[str]]  # NULL for none
    retry_count: int
    failed_agent_ids: Optional[list[str]]  # NULL for none


class PendingKernelRow(NamedTuple):  # pending_kernels.sql
    session_id: bytes
    kernel_id: KernelId
    kernel_index: int
    architecture: Optional[Architecture]
    requested_slots: str  # as PostgreSQL writes an array


class PendingDependencyRow(NamedTuple):  # pending_dependencies.sql
    session_id: SessionId
    depends_on: SessionId
    status: Optional[str]
    result: Optional[str]


class SchedulableAgentRow(NamedTuple):  # schedulable_agents.sql
    agent_id: AgentId
    address: str
    architecture: Architecture
    container_count: int
    max_containers: Optional[int]


class SchedulableAgentSlotRow(NamedTuple):  # schedulable_agent_slots.sql
    agent_id: AgentId
    slot_index: int
    capacity: int
    occupied: int


class ReservedKernelRow(NamedTuple):  # reservations.sql: one row per kernel
    session_id: SessionId
    position: int
    kernel_id: KernelId
    agent_id: AgentId
    requested_slots: list[int]


class PreemptionCandidateRow(
    NamedTuple
):  # preemption_candidates.sql: one row per occupying kernel; without any, the last two columns are NULL
    session_id: SessionId
    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName
    priority: int
    running_since: datetime
    agent_id: Optional[AgentId]
    occupied_slots: Optional[list[int]]


class OwnerRow(NamedTuple):  # owners.sql: arrays as PostgreSQL writes them
    session_count: int
    occupied: str
    has_quota: bool
    resource_policy: Optional[ResourcePolicyName]
    policy_slot_limits: str
    policy_max_concurrent_sessions: Optional[int]
    policy_max_kernels_per_session: Optional[int]
    own_slot_limits: str
    own_max_concurrent_sessions: Optional[int]


# The columns of some pending sessions, in the order of PendingSessionRow.
SessionColumns = list[tuple[Any, ...]]
# The kernels of each session, by the bytes of its id.
KernelsBySession = dict[bytes, tuple[PendingKernel, ...]]


class PendingOwners(msgspec.Struct, frozen=True):
    """The owners of the pending sessions, each once and by id: the parameters of owners.sql."""

    access_keys: list[AccessKey]
    users: list[UserId]
    projects: list[ProjectId]
    domains: list[DomainName]

    @property
    def parameters(self) -> tuple[list[AccessKey], list[UserId], list[ProjectId], list[DomainName]]:
        """The four parameters of owners.sql."""
        return self.access_keys, self.users, self.projects, self.domains


class SurroundingRows(msgspec.Struct, frozen=True):
    """The rows of all that is around the queue."""

    slot_types: Sequence[IndexedSlotTypeRow]
    agents: Sequence[SchedulableAgentRow]
    agent_slots: Sequence[SchedulableAgentSlotRow]
    reservations: Sequence[ReservedKernelRow]
    preemption_candidates: Sequence[PreemptionCandidateRow]
    owners: PendingOwners
    owner_rows: list[OwnerRow]

    @property
    def row_count(self) -> int:
        """How many rows the statements returned, those that were not taken out."""
        return sum(len(each) for each in msgspec.structs.astuple(self) if isinstance(each, list))


def note_unreadable(
    unreadable: dict[str, UnreadableRow], entity: str, entity_id: object, error: UnknownWord
) -> None:
    """Note a row with a word that this version does not know, once."""
    unreadable.setdefault(f"{entity} {entity_id}", UnreadableRow(entity, str(entity_id), str(error)))
