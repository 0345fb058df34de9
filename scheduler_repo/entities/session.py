"""Sessions: what creates, finds and describes them."""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Optional
from uuid import UUID, uuid4

import msgspec

from scheduler_repo.entities.kernel import Kernel, KernelSpec
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.scheduling_data import SessionDependency
from scheduler_repo.entities.spec import SearchFilter, Spec
from scheduler_repo.entities.vfolder import MountedVFolder, MountSpec
from scheduler_repo.errors import (
    InvalidInput,
    InvalidQuantity,
    OwnerNotFound,
    ScalingGroupNotFound,
    SchedulerRepoError,
    SessionAlreadyExists,
    UnknownSlotType,
    VFolderNotFound,
)
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    ClusterMode,
    DomainName,
    OwnerScope,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SessionResult,
    SessionStatus,
    SessionType,
    SlotVector,
    TransactionId,
    UserId,
)


class SessionInfo(msgspec.Struct, frozen=True):
    """A session as lists show it; times are the database's clock, in UTC.

    ``requested_slots`` sums its kernels by slot index, in smallest units; missing ones at the end are 0.
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

    ``retry_count`` counts its returns to the queue; on ``failed_agent_ids`` an attempt failed; at
    ``dispatched_at`` its agents were told to start it. Times are the database's clock, in UTC.
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


class SessionState(msgspec.Struct, frozen=True):
    """A session's status at ``observed_at``; it has had it since ``status_changed_at``.

    ``agent_ids``, ordered, are the agents that its kernels are on, or were on when it ended.
    """

    session_id: SessionId
    name: str
    scaling_group: ScalingGroupName
    status: SessionStatus
    result: Optional[SessionResult]
    created_at: datetime
    status_changed_at: datetime
    observed_at: datetime
    agent_ids: tuple[AgentId, ...]


class SessionWithDependencies(msgspec.Struct, frozen=True):
    """One session at one instant, with all that belongs to it.

    ``kernels`` are ordered by index, ``mounts`` by path. ``dependencies`` are the sessions it waits for, with
    status and result (None: it no longer exists); ``dependants`` wait for it; both are ordered by id.
    """

    session: Session
    kernels: tuple[Kernel, ...]
    mounts: tuple[MountedVFolder, ...]
    dependencies: tuple[SessionDependency, ...]
    dependants: tuple[SessionId, ...]


class SessionCreationSpec(Spec, frozen=True, kw_only=True):
    """A session to enqueue; its kernels are indexed in the order given.

    Each session in ``depends_on`` must end with SessionResult.SUCCESS first. Times carry a time zone.
    ``created_at`` None means the database's clock; of equal priorities the older session goes first.
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
    session_id: SessionId = msgspec.field(default_factory=lambda: SessionId(uuid4()))


class CreationRejectionCode(enum.StrEnum):
    """Why one session of a batch was not created."""

    DUPLICATE = "DUPLICATE"  # an earlier session of the batch has its id, or one of its kernels
    SESSION_EXISTS = "SESSION_EXISTS"
    KERNEL_EXISTS = "KERNEL_EXISTS"
    SCALING_GROUP_UNKNOWN = "SCALING_GROUP_UNKNOWN"
    OWNER_UNKNOWN = "OWNER_UNKNOWN"  # no such key of this user, or no such project of this domain
    VFOLDER_UNKNOWN = "VFOLDER_UNKNOWN"
    SLOT_TYPE_UNKNOWN = "SLOT_TYPE_UNKNOWN"
    INVALID_QUANTITY = "INVALID_QUANTITY"
    NO_KERNELS = "NO_KERNELS"
    INVALID_DEPENDENCY = "INVALID_DEPENDENCY"  # on itself, in a ring, on one session twice, or no UUID
    INVALID_MOUNT = "INVALID_MOUNT"  # two folders at one path, or a path that cannot be stored
    INVALID_VALUE = "INVALID_VALUE"  # another value that cannot be stored; the detail names it
    ROW_LOCKED = "ROW_LOCKED"  # by another transaction, for too long; ``locked`` names row and holder


_ERRORS: Final[Mapping[CreationRejectionCode, type[SchedulerRepoError]]] = {
    CreationRejectionCode.DUPLICATE: SessionAlreadyExists,
    CreationRejectionCode.SESSION_EXISTS: SessionAlreadyExists,
    CreationRejectionCode.KERNEL_EXISTS: SessionAlreadyExists,
    CreationRejectionCode.SCALING_GROUP_UNKNOWN: ScalingGroupNotFound,
    CreationRejectionCode.OWNER_UNKNOWN: OwnerNotFound,
    CreationRejectionCode.VFOLDER_UNKNOWN: VFolderNotFound,
    CreationRejectionCode.SLOT_TYPE_UNKNOWN: UnknownSlotType,
    CreationRejectionCode.INVALID_QUANTITY: InvalidQuantity,
}


# The field of the error that a rejection's reference is.
_REFERENCES: Final[Mapping[CreationRejectionCode, str]] = {
    CreationRejectionCode.SCALING_GROUP_UNKNOWN: "scaling_group",
    CreationRejectionCode.OWNER_UNKNOWN: "owner_id",
    CreationRejectionCode.VFOLDER_UNKNOWN: "vfolder_id",
}


class RejectedSession(msgspec.Struct, frozen=True):
    """A session that was not created, and why; ``detail`` says what was found and what to do.

    ``reference`` is the id or name that does not exist, ``scope`` an owner's.
    """

    session_id: SessionId
    code: CreationRejectionCode
    detail: str
    locked: Optional[RowLocked] = None
    reference: Optional[str] = None
    scope: Optional[OwnerScope] = None

    def to_error(self) -> SchedulerRepoError:
        """Build the error that create_session() raises for this rejection.

        SessionAlreadyExists, ScalingGroupNotFound, OwnerNotFound, VFolderNotFound, UnknownSlotType,
        InvalidQuantity, LockNotAvailable, else InvalidInput.
        """
        if self.locked is not None:
            return self.locked.to_error(self.session_id)
        named: dict[str, object] = {"session_id": self.session_id, "scope": self.scope}
        field = _REFERENCES.get(self.code)
        if field is not None and self.reference is not None:
            is_id = self.code is CreationRejectionCode.VFOLDER_UNKNOWN
            named[field] = UUID(self.reference) if is_id else self.reference
        return _ERRORS.get(self.code, InvalidInput).about(self.detail, **named)


class SessionCreationResult(msgspec.Struct, frozen=True):
    """The sessions of a batch that were created and those that were not, in the order given."""

    created: tuple[SessionId, ...]
    rejected: tuple[RejectedSession, ...]
    transaction_id: Optional[TransactionId] = None


class SessionOrder(enum.StrEnum):
    """The order of a search: by creation time, then id."""

    NEWEST_FIRST = "NEWEST_FIRST"
    OLDEST_FIRST = "OLDEST_FIRST"


class SessionFilter(SearchFilter, frozen=True, kw_only=True):
    """The fields by which a search of sessions is narrowed; ``name`` is the whole name.

    ``created_from`` is included, ``created_until`` is not; both carry a time zone.
    """

    scaling_group: Optional[ScalingGroupName] = None
    access_key: Optional[AccessKey] = None
    user_id: Optional[UserId] = None
    project_id: Optional[ProjectId] = None
    domain_name: Optional[DomainName] = None
    statuses: Optional[tuple[SessionStatus, ...]] = None
    session_type: Optional[SessionType] = None
    name: Optional[str] = None
    created_from: Optional[datetime] = None
    created_until: Optional[datetime] = None
