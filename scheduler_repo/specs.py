"""What callers hand in to create things: frozen structs, amounts in each slot's smallest unit."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Optional
from uuid import uuid4

import msgspec

from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import quoted
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    ClusterMode,
    DomainName,
    KernelId,
    MountPermission,
    OwnerScope,
    PreemptionScope,
    ProjectId,
    ResourcePolicyName,
    ScalingGroupName,
    SessionId,
    SessionType,
    SlotName,
    UserId,
    VFolderId,
)


def _new_session_id() -> SessionId:
    return SessionId(uuid4())


def _new_kernel_id() -> KernelId:
    return KernelId(uuid4())


def _new_vfolder_id() -> VFolderId:
    return VFolderId(uuid4())


# What structs do not check by themselves, and what would go wrong far from the mistake: a string given for a
# tuple would be taken apart by letters, a word given for an enum has no ``value``.
_FIELD_KINDS: dict[str, type] = {
    **dict.fromkeys(("kernels", "designated_agent_ids", "depends_on", "mounts"), tuple),
    **dict.fromkeys(("domains", "projects", "users", "keypairs", "resource_policies", "quotas"), tuple),
    **dict.fromkeys(("slot_types", "scaling_groups", "agents", "sessions"), tuple),
    "session_type": SessionType,
    "cluster_mode": ClusterMode,
    "permission": MountPermission,
    "scope": OwnerScope,
    "preemption_scope": PreemptionScope,
    "preemption_min_runtime": timedelta,
    "pending_timeout": timedelta,
    **dict.fromkeys(("is_active", "is_public"), bool),
}
_MAY_BE_NONE = frozenset({"preemption_scope", "pending_timeout"})


class _Spec(msgspec.Struct, frozen=True, kw_only=True):
    """A struct that refuses the most likely mistakes where they are made; raises InvalidInput."""

    def __post_init__(self) -> None:
        for name in _FIELD_KINDS.keys() & self.__struct_fields__:
            value, kind = getattr(self, name), _FIELD_KINDS[name]
            if not isinstance(value, kind) and not (value is None and name in _MAY_BE_NONE):
                raise InvalidInput(
                    f"{type(self).__name__}.{name} is {quoted(value)}, it must be a {kind.__name__}"
                )


class SlotTypeSpec(_Spec, frozen=True, kw_only=True):
    """A kind of resource; ``units_per_whole`` smallest units make one unit as people write it."""

    name: SlotName
    units_per_whole: int = 1
    display_unit: str = ""


class ScalingGroupSpec(_Spec, frozen=True, kw_only=True):
    """A pool of agents with one queue.

    ``pending_timeout`` is how long a session may wait, None for ever: ``sweep_pending_sessions`` cancels those
    that wait for longer, whenever it is called. ``preemption_scope`` says whose sessions a pending one may have
    ended for it (None: nobody's), once they have run for ``preemption_min_runtime``. A group that is not
    ``is_public`` is listed for owners with a grant only.
    """

    name: ScalingGroupName
    is_active: bool = True
    is_public: bool = True
    pending_timeout: Optional[timedelta] = None
    preemption_scope: Optional[PreemptionScope] = None
    preemption_min_runtime: timedelta = timedelta()


class AgentSpec(_Spec, frozen=True, kw_only=True):
    """A node with its capacity per slot; slots that it lacks are left out."""

    agent_id: AgentId
    scaling_group: ScalingGroupName
    address: str
    architecture: Architecture
    capacity: Mapping[SlotName, int]
    max_containers: Optional[int] = None


class ProjectSpec(_Spec, frozen=True, kw_only=True):
    """A project of a domain."""

    project_id: ProjectId
    name: str
    domain_name: DomainName


class UserSpec(_Spec, frozen=True, kw_only=True):
    """A user of a domain."""

    user_id: UserId
    name: str
    domain_name: DomainName


class KeypairSpec(_Spec, frozen=True, kw_only=True):
    """An access key of a user."""

    access_key: AccessKey
    user_id: UserId


class ResourcePolicySpec(_Spec, frozen=True, kw_only=True):
    """A named set of limits that owners share; what is left out, or None, is not limited."""

    name: ResourcePolicyName
    slot_limits: Mapping[SlotName, Optional[int]] = {}
    max_concurrent_sessions: Optional[int] = None
    max_kernels_per_session: Optional[int] = None


class QuotaSpec(_Spec, frozen=True, kw_only=True):
    """The limits of one owner: a policy, limits of its own, or both (then the least holds).

    ``owner_id`` is the access key, the user's or project's id as text, or the domain's name. What is left out,
    or None, is not limited.
    """

    scope: OwnerScope
    owner_id: str
    resource_policy: Optional[ResourcePolicyName] = None
    slot_limits: Mapping[SlotName, Optional[int]] = {}
    max_concurrent_sessions: Optional[int] = None


class KernelSpec(_Spec, frozen=True, kw_only=True):
    """One container of a session; ``architecture`` None takes any agent."""

    requested_slots: Mapping[SlotName, int]
    image: str = ""
    architecture: Optional[Architecture] = None
    kernel_id: KernelId = msgspec.field(default_factory=_new_kernel_id)


class VFolderSpec(_Spec, frozen=True, kw_only=True):
    """A folder on a storage host, of a user or of a project: one of the two is given."""

    name: str
    host: str
    user_id: Optional[UserId] = None
    project_id: Optional[ProjectId] = None
    vfolder_id: VFolderId = msgspec.field(default_factory=_new_vfolder_id)


class MountSpec(_Spec, frozen=True, kw_only=True):
    """A folder that a session mounts; a path holds one folder."""

    vfolder_id: VFolderId
    mount_path: str
    permission: MountPermission = MountPermission.READ_WRITE


class SessionCreationSpec(_Spec, frozen=True, kw_only=True):
    """A session to enqueue; its kernels are indexed in the order given.

    Each session in ``depends_on`` must end with SessionResult.SUCCESS first. Times carry a time zone.
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
    mounts: tuple[MountSpec, ...] = ()
    session_id: SessionId = msgspec.field(default_factory=_new_session_id)


class OwnersSpec(_Spec, frozen=True, kw_only=True):
    """Owners, their policies and their quotas, to be registered at once."""

    domains: tuple[DomainName, ...] = ()
    projects: tuple[ProjectSpec, ...] = ()
    users: tuple[UserSpec, ...] = ()
    keypairs: tuple[KeypairSpec, ...] = ()
    resource_policies: tuple[ResourcePolicySpec, ...] = ()
    quotas: tuple[QuotaSpec, ...] = ()


class ClusterSpec(_Spec, frozen=True, kw_only=True):
    """A whole cluster and its queue, to be loaded at once."""

    slot_types: tuple[SlotTypeSpec, ...]
    scaling_groups: tuple[ScalingGroupSpec, ...]
    agents: tuple[AgentSpec, ...]
    owners: OwnersSpec
    sessions: tuple[SessionCreationSpec, ...] = ()
