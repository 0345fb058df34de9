"""Retention: the outcome of a purge, and sessions as an archive gets them."""

from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    ClusterMode,
    DomainName,
    KernelId,
    MountPermission,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SessionResult,
    SessionStatus,
    SessionType,
    SlotVector,
    UserId,
    VFolderId,
)


class PurgeResult(msgspec.Struct, frozen=True):
    """How many rows went, in how many transactions.

    Unfinished sessions depend on ``kept_sessions``; ``skipped_sessions`` were locked, the next purge has them.
    """

    sessions: int = 0
    kernels: int = 0
    agent_history: int = 0
    operations: int = 0
    kept_sessions: int = 0
    skipped_sessions: int = 0
    batches: int = 0

    def __add__(self, other: "PurgeResult") -> "PurgeResult":
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return PurgeResult(*(mine + theirs for mine, theirs in pairs))


class ArchivedKernel(msgspec.Struct, frozen=True):
    """A kernel as it ended; amounts are in each slot's smallest unit, at the slot type's ``slot_index``."""

    kernel_id: KernelId
    kernel_index: int
    image: str
    architecture: Optional[Architecture]
    status: SessionStatus
    agent_id: Optional[AgentId]
    requested_slots: SlotVector
    occupied_slots: SlotVector
    exit_code: Optional[int]
    status_changed_at: datetime


class ArchivedChange(msgspec.Struct, frozen=True):
    """One change of the session's status, or of one kernel's; ``from_status`` None: it was created."""

    kernel_id: Optional[KernelId]
    from_status: Optional[SessionStatus]
    to_status: SessionStatus
    reason: Optional[str]
    changed_at: datetime


class ArchivedMount(msgspec.Struct, frozen=True):
    """A vfolder that the session had mounted."""

    vfolder_id: VFolderId
    mount_path: str
    permission: MountPermission


class ArchivedSession(msgspec.Struct, frozen=True):
    """A session with all that is deleted with it; kernels by index, history in its order."""

    session_id: SessionId
    name: str
    scaling_group: ScalingGroupName
    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName
    session_type: SessionType
    cluster_mode: ClusterMode
    priority: int
    status: SessionStatus
    result: Optional[SessionResult]
    designated_agent_ids: tuple[AgentId, ...]
    created_at: datetime
    requested_start_at: Optional[datetime]
    status_changed_at: datetime
    retry_count: int
    failed_agent_ids: tuple[AgentId, ...]
    dispatched_at: Optional[datetime]
    depends_on: tuple[SessionId, ...]
    kernels: tuple[ArchivedKernel, ...]
    history: tuple[ArchivedChange, ...]
    mounts: tuple[ArchivedMount, ...]
