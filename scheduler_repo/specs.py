"""What callers hand in to create things: frozen structs, amounts in each slot's smallest unit."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Optional
from uuid import uuid4

import msgspec

from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    ClusterMode,
    DomainName,
    KernelId,
    OwnerScope,
    ProjectId,
    ResourcePolicyName,
    ScalingGroupName,
    SessionId,
    SessionType,
    SlotName,
    UserId,
)


def _new_session_id() -> SessionId:
    return SessionId(uuid4())


def _new_kernel_id() -> KernelId:
    return KernelId(uuid4())


class SlotTypeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of resource; ``units_per_whole`` smallest units make one unit as people write it."""

    name: SlotName
    units_per_whole: int = 1
    display_unit: str = ""


class ScalingGroupSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A pool of agents with one queue; ``pending_timeout`` None lets a session wait for ever."""

    name: ScalingGroupName
    is_active: bool = True
    pending_timeout: Optional[timedelta] = None


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A node with its capacity per slot; slots that it lacks are left out."""

    agent_id: AgentId
    scaling_group: ScalingGroupName
    address: str
    architecture: Architecture
    capacity: Mapping[SlotName, int]
    max_containers: Optional[int] = None


class ProjectSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A project of a domain."""

    project_id: ProjectId
    name: str
    domain_name: DomainName


class UserSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A user of a domain."""

    user_id: UserId
    name: str
    domain_name: DomainName


class KeypairSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An access key of a user."""

    access_key: AccessKey
    user_id: UserId


class ResourcePolicySpec(msgspec.Struct, frozen=True, kw_only=True):
    """A named set of limits that owners share; a slot that is left out is not limited."""

    name: ResourcePolicyName
    slot_limits: Mapping[SlotName, int] = {}
    max_concurrent_sessions: Optional[int] = None
    max_kernels_per_session: Optional[int] = None


class QuotaSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one owner: a policy, limits of its own, or both (then the least holds).

    ``owner_id`` is the access key, the user's or project's id as text, or the domain's name.
    """

    scope: OwnerScope
    owner_id: str
    resource_policy: Optional[ResourcePolicyName] = None
    slot_limits: Mapping[SlotName, int] = {}
    max_concurrent_sessions: Optional[int] = None


class KernelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One container of a session; ``architecture`` None takes any agent."""

    requested_slots: Mapping[SlotName, int]
    image: str = ""
    architecture: Optional[Architecture] = None
    kernel_id: KernelId = msgspec.field(default_factory=_new_kernel_id)


class SessionCreationSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A session to enqueue; its kernels are indexed in the order given.

    ``created_at`` None takes the database's clock; among equal priorities the older session goes first.
    """

    name: str
    scaling_group: ScalingGroupName
    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName
    kernels: tuple[KernelSpec, ...]
    session_type: SessionType = SessionType.BATCH
    cluster_mode: ClusterMode = ClusterMode.SINGLE_NODE
    priority: int = 10
    created_at: Optional[datetime] = None
    requested_start_at: Optional[datetime] = None
    designated_agent_ids: tuple[AgentId, ...] = ()
    depends_on: tuple[SessionId, ...] = ()
    session_id: SessionId = msgspec.field(default_factory=_new_session_id)


class OwnersSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Owners, their policies and their quotas, to be registered at once."""

    domains: tuple[DomainName, ...] = ()
    projects: tuple[ProjectSpec, ...] = ()
    users: tuple[UserSpec, ...] = ()
    keypairs: tuple[KeypairSpec, ...] = ()
    resource_policies: tuple[ResourcePolicySpec, ...] = ()
    quotas: tuple[QuotaSpec, ...] = ()


class ClusterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A whole cluster and its queue, to be loaded at once."""

    slot_types: tuple[SlotTypeSpec, ...]
    scaling_groups: tuple[ScalingGroupSpec, ...]
    agents: tuple[AgentSpec, ...]
    owners: OwnersSpec
    sessions: tuple[SessionCreationSpec, ...] = ()
