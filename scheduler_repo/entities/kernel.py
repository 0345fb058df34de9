"""Kernels: the containers of sessions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Optional
from uuid import uuid4

import msgspec

from scheduler_repo.entities.spec import Spec
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
    SlotName,
    SlotVector,
    UserId,
)


class Kernel(msgspec.Struct, frozen=True):
    """One container of a session; with ``architecture`` None it runs on any agent.

    An ended kernel keeps ``agent_id`` and ``occupied_slots``: where it was, and what it held there. Amounts are
    by slot index, in smallest units; missing ones at the end are 0. Times are the database's clock, in UTC.
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


class KernelSpec(Spec, frozen=True, kw_only=True):
    """A container of a session to enqueue; with ``architecture`` None it runs on any agent."""

    requested_slots: Mapping[SlotName, int]
    image: str = ""
    architecture: Optional[Architecture] = None
    kernel_id: KernelId = msgspec.field(default_factory=lambda: KernelId(uuid4()))
