"""SchedulingData: the immutable answer of one read, with everything that one tick needs.

Amounts are in each slot's smallest unit. None of the structs can be part of a reference cycle, hence
``gc=False``: a million of them cost the collector nothing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, Optional, Union

import msgspec

from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.entities.snapshot_token import SnapshotToken
from scheduler_repo.entities.unreadable import DependencyOutlook, PartialAnswer
from scheduler_repo.types import (
    FINISHED_STATUSES,
    OWNER_FIELDS,
    AccessKey,
    AgentId,
    Architecture,
    ClusterMode,
    DomainName,
    KernelId,
    OwnerScope,
    OwnerT,
    PreemptionScope,
    ProjectId,
    ResourcePolicyName,
    ScalingGroupName,
    SessionId,
    SessionResult,
    SessionStatus,
    SessionType,
    SlotLimits,
    SlotVector,
    TransactionId,
    UserId,
)


class ScalingGroupInfo(msgspec.Struct, frozen=True, gc=False):
    """The group of one tick and its options; ScalingGroupSpec says what they mean."""

    name: ScalingGroupName
    is_active: bool
    pending_timeout: Optional[timedelta]
    preemption_scope: Optional[PreemptionScope]
    preemption_min_runtime: timedelta


class PendingKernel(msgspec.Struct, frozen=True, gc=False):
    """One container that a pending session asks for; ``architecture`` None takes any agent."""

    kernel_id: KernelId
    kernel_index: int
    architecture: Optional[Architecture]
    requested_slots: SlotVector


class DependencyState(DependencyOutlook, frozen=True, gc=False):
    """A session that another waits for; ``status`` None means that it no longer exists."""

    depends_on: SessionId
    status: Optional[SessionStatus]
    result: Optional[SessionResult]


class SessionDependency(DependencyState, frozen=True, gc=False, tag=True):
    """A session that must have succeeded first."""

    @property
    def is_met(self) -> bool:
        """Whether the other session terminated with success."""
        return self.status is SessionStatus.TERMINATED and self.result is SessionResult.SUCCESS

    @property
    def can_be_met(self) -> bool:
        """Whether the other session may still succeed, or has."""
        if self.unknown_word is not None:
            return True
        return self.is_met or not (self.is_hopeless or self.status in (None, *FINISHED_STATUSES))


class PendingSession(msgspec.Struct, frozen=True, gc=False):
    """A session that waits to be placed, all of its kernels or none.

    ``kernels`` are ordered by index, ``dependencies`` by id, ``designated_agent_ids`` (none: any agent) as
    text. It came back to the queue ``retry_count`` times; on ``failed_agent_ids`` earlier attempts failed, a
    hint that another agent may do better.
    """

    session_id: SessionId
    name: str
    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName
    priority: int
    session_type: SessionType
    cluster_mode: ClusterMode
    created_at: datetime
    requested_start_at: Optional[datetime]
    designated_agent_ids: tuple[AgentId, ...]
    retry_count: int
    failed_agent_ids: tuple[AgentId, ...]
    kernels: tuple[PendingKernel, ...]
    dependencies: tuple[SessionDependency, ...]


class SchedulableAgent(msgspec.Struct, frozen=True, gc=False):
    """An agent that takes kernels: alive, not draining, open for scheduling.

    ``occupied`` is the counter that the writes keep; an audit compares it with the sum over its kernels.
    ``reserved`` and ``reserved_containers`` are the sums over the group's reservations on it, which may be
    occupied still.
    """

    agent_id: AgentId
    address: str
    architecture: Architecture
    container_count: int
    max_containers: Optional[int]
    capacity: SlotVector
    occupied: SlotVector
    reserved: SlotVector
    reserved_containers: int


class ReservedKernel(msgspec.Struct, frozen=True, gc=False):
    """A kernel of a reservation, and the agent on which all that it requests is held."""

    kernel_id: KernelId
    agent_id: AgentId
    requested_slots: SlotVector


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """The capacity held for one pending session; ``kernels`` are ordered by index.

    Of two reservations on one agent, the one with the lower ``position`` is served first.
    """

    session_id: SessionId
    position: int
    kernels: tuple[ReservedKernel, ...]


class AgentGain(msgspec.Struct, frozen=True, gc=False):
    """The amounts that an agent would get back if a session ended."""

    agent_id: AgentId
    slots: SlotVector
    container_count: int


class PreemptionCandidate(msgspec.Struct, frozen=True, gc=False):
    """A running session less important than some pending one; ``gains`` by agent, closed ones too."""

    session_id: SessionId
    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName
    priority: int
    running_since: datetime
    gains: tuple[AgentGain, ...]


class OwnerUsage(msgspec.Struct, Generic[OwnerT], frozen=True, gc=False):
    """The amounts that one owner occupies across all groups; its limits are the least of policy and quota."""

    owner_id: OwnerT
    occupied: SlotVector
    session_count: int
    resource_policy: Optional[ResourcePolicyName]
    slot_limits: SlotLimits
    max_concurrent_sessions: Optional[int]
    max_kernels_per_session: Optional[int]


AnyOwnerUsage = Union[OwnerUsage[AccessKey], OwnerUsage[UserId], OwnerUsage[ProjectId], OwnerUsage[DomainName]]


if TYPE_CHECKING:
    PendingSessions = Sequence[PendingSession]
else:
    # What is decoded is a tuple; of a Sequence it would be a list.
    PendingSessions = tuple[PendingSession, ...]


class SchedulingData(PartialAnswer, frozen=True, gc=False):
    """Everything that one tick of one scaling group needs, true of one instant.

    ``pending_sessions`` by priority (high first), creation time, id; ``agents`` and owners by id; the owners
    are those of the pending sessions. ``observed_at`` is the database's clock at the snapshot of ``token``.
    All sequences are immutable: tuples, or for the pending sessions of a refresh a queue that is equal to one
    and shares its parts with the answer before (encode it with ``msgspec.json.encode(data, enc_hook=tuple)``).
    ``pending_limit`` is the bound that the read was given: sessions may wait behind it.

    ``reservations`` are the group's, by position, those of sessions behind the bound too. Where preemption is
    on, ``preemption_candidates`` have the lowest priority first, of those the youngest run, then by id.

    ``unreadable`` are rows with words of a newer version: pending sessions, which are left out, sessions that
    others depend on, and the group where its preemption scope is one; then nothing is preempted.
    """

    token: SnapshotToken
    observed_at: datetime
    pending_limit: Optional[int]
    scaling_group: ScalingGroupInfo
    slot_types: tuple[SlotType, ...]
    pending_sessions: PendingSessions
    agents: tuple[SchedulableAgent, ...]
    reservations: tuple[Reservation, ...]
    preemption_candidates: tuple[PreemptionCandidate, ...]
    access_keys: tuple[OwnerUsage[AccessKey], ...]
    users: tuple[OwnerUsage[UserId], ...]
    projects: tuple[OwnerUsage[ProjectId], ...]
    domains: tuple[OwnerUsage[DomainName], ...]

    def owners_of(self, scope: OwnerScope) -> tuple[AnyOwnerUsage, ...]:
        """Return what the owners of one scope occupy."""
        usages: tuple[AnyOwnerUsage, ...] = getattr(self, OWNER_FIELDS[scope].several)
        return usages

    def has_seen(self, transaction_id: TransactionId) -> bool:
        """Whether the snapshot includes the write whose result carries ``transaction_id``."""
        return self.token.has_seen(transaction_id)

    def __repr__(self) -> str:
        """Name the group, time and sizes only: all of it would be megabytes in a log."""
        return (
            f"SchedulingData(scaling_group={self.scaling_group.name!r}, "
            f"observed_at={self.observed_at.isoformat()}, snapshot={self.token.snapshot!r}, "
            f"pending_sessions={len(self.pending_sessions)}, agents={len(self.agents)})"
        )
