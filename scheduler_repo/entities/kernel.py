"""Kernels as repositories answer with them."""

from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    DomainName,
    KernelId,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SessionStatus,
    SlotVector,
    UserId,
)


class Kernel(msgspec.Struct, frozen=True):
    """One container of a session; ``architecture`` None takes any agent.

    ``agent_id`` and ``occupied_slots`` are kept when it has ended: where it was, and what it held there.
    Amounts are by slot index, in each slot's smallest unit; what is missing at the end is 0. Times are the
    database's clock, in UTC.
    """

    kernel_id: KernelId
    session_id: SessionId
    kernel_index: int
    scaling_group: ScalingGroupName
    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName
    image: str
    architecture: Optional[Architecture]
    status: SessionStatus
    agent_id: Optional[AgentId]
    requested_slots: SlotVector
    occupied_slots: SlotVector
    exit_code: Optional[int]
    status_changed_at: datetime
