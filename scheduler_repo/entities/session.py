"""Sessions as repositories answer with them."""

from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.entities.kernel import Kernel
from scheduler_repo.entities.vfolder import MountedVFolder
from scheduler_repo.scheduling.data import SessionDependency
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    ClusterMode,
    DomainName,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SessionResult,
    SessionStatus,
    SessionType,
    SlotVector,
    UserId,
)


class SessionInfo(msgspec.Struct, frozen=True):
    """What lists show of a session; ``requested_slots`` is the sum over its kernels, by slot index.

    Times are the database's clock, in UTC; amounts are in each slot's smallest unit, what is missing at the end
    is 0.
    """

    session_id: SessionId
    name: str
    scaling_group: ScalingGroupName
    access_key: AccessKey
    session_type: SessionType
    status: SessionStatus
    result: Optional[SessionResult]
    created_at: datetime
    status_changed_at: datetime
    requested_slots: SlotVector


class Session(msgspec.Struct, frozen=True):
    """One session, without its kernels; lists of agents are ordered by id.

    ``retry_count`` says how often it went back to the queue, ``failed_agent_ids`` where attempts failed,
    ``dispatched_at`` when its agents were told to start it (None: not yet). Times are the database's clock, in
    UTC.
    """

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
    created_at: datetime
    status_changed_at: datetime
    requested_start_at: Optional[datetime]
    dispatched_at: Optional[datetime]
    retry_count: int
    designated_agent_ids: tuple[AgentId, ...]
    failed_agent_ids: tuple[AgentId, ...]


class SessionWithDependencies(msgspec.Struct, frozen=True):
    """One session at one instant, with all that belongs to it.

    ``kernels`` are ordered by index, ``mounts`` by path, ``dependencies`` (what it waits for, each with its
    status and result, None: gone) and ``dependants`` (who waits for it) by id.
    """

    session: Session
    kernels: tuple[Kernel, ...]
    mounts: tuple[MountedVFolder, ...]
    dependencies: tuple[SessionDependency, ...]
    dependants: tuple[SessionId, ...]
