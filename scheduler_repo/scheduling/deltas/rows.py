"""The rows of one refresh, by the columns of its statements, in their order."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Optional

import msgspec

from scheduler_repo.scheduling.snapshot.rows import (
    GroupOptionsRow,
    PendingDependencyRow,
    ReservedKernelRow,
    SnapshotRow,
)
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    DomainName,
    KernelId,
    ProjectId,
    ResourcePolicyName,
    SessionId,
    UserId,
)


class NewsRow(NamedTuple):  # changes_since.sql, behind the columns of SnapshotRow and GroupOptionsRow
    is_kept: Optional[bool]
    kinds: Optional[list[bytes]]
    sessions: Optional[list[SessionId]]
    agents: Optional[list[AgentId]]
    quotas: Optional[list[str]]
    # Of each row of the log of usage, and None for no rows; the amounts as PostgreSQL writes an array.
    access_keys: Optional[list[AccessKey]]
    users: Optional[list[UserId]]
    projects: Optional[list[ProjectId]]
    domains: Optional[list[DomainName]]
    session_counts: Optional[list[int]]
    slots: Optional[list[str]]


class ChangedSessionRow(NamedTuple):  # changed_sessions.sql: the first columns are PendingSessionRow's
    session_id: SessionId
    name: str
    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName
    priority: int
    session_type: str
    cluster_mode: str
    created_at: bytes
    requested_start_at: Optional[datetime]
    designated_agent_ids: list[str]
    retry_count: int
    failed_agent_ids: list[str]
    is_pending: bool
    has_dependencies: bool
    running_since: datetime
    kernel_ids: list[KernelId]
    indexes: list[int]
    architectures: list[Optional[Architecture]]
    agent_ids: list[Optional[AgentId]]
    slots: list[str]


class ChangedAgentRow(NamedTuple):  # changed_agents.sql
    agent_id: AgentId
    address: str
    architecture: Architecture
    container_count: int
    max_containers: Optional[int]
    slot_indexes: list[int]
    capacities: list[int]
    occupied: list[int]


class ChangedOwnerRow(NamedTuple):  # changed_owners.sql: sums as text
    scope: str
    owner_id: str
    session_count: int
    occupied: list[str]
    resource_policy: Optional[ResourcePolicyName]
    policy_slot_limits: Optional[list[Optional[int]]]
    policy_max_concurrent_sessions: Optional[int]
    policy_max_kernels_per_session: Optional[int]
    own_slot_limits: Optional[list[Optional[int]]]
    own_max_concurrent_sessions: Optional[int]


class UsageRow(NamedTuple):
    """A change of what four owners occupy: signed sums."""

    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName
    session_count: int
    slots: list[int]


class RawChanges(msgspec.Struct, frozen=True):
    """All rows of one refresh; ``reservations`` are None where none can have changed."""

    snapshot: SnapshotRow
    scaling_group: GroupOptionsRow
    session_ids: Sequence[SessionId]
    agent_ids: Sequence[AgentId]
    usage: Sequence[UsageRow]
    sessions: Sequence[ChangedSessionRow]
    dependencies: Sequence[PendingDependencyRow]
    agents: Sequence[ChangedAgentRow]
    owners: Sequence[ChangedOwnerRow]
    reservations: Optional[Sequence[ReservedKernelRow]]


def amounts_of(text: str) -> list[int]:
    """Read amounts as PostgreSQL writes an array of them."""
    return [*map(int, text[1:-1].split(","))] if text != "{}" else []


def add_amounts(total: list[int], amounts: Sequence[int]) -> None:
    """Add amounts to a total, place by place; what is missing at the end of either is 0."""
    total.extend([0] * (len(amounts) - len(total)))
    for at, amount in enumerate(amounts):
        total[at] += amount
