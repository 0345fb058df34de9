"""What became of sessions that were to be created together: which are there, and why the others are not."""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Optional

import msgspec

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
from scheduler_repo.types import SessionId, TransactionId


class CreationRejectionCode(enum.StrEnum):
    """Why one session of a batch was not created."""

    DUPLICATE = "DUPLICATE"  # the batch has its id, or one of its kernels', before; the first stands
    SESSION_EXISTS = "SESSION_EXISTS"
    KERNEL_EXISTS = "KERNEL_EXISTS"
    SCALING_GROUP_UNKNOWN = "SCALING_GROUP_UNKNOWN"
    OWNER_UNKNOWN = "OWNER_UNKNOWN"  # no such key of this user, or no such project of this domain
    VFOLDER_UNKNOWN = "VFOLDER_UNKNOWN"
    SLOT_TYPE_UNKNOWN = "SLOT_TYPE_UNKNOWN"
    INVALID_QUANTITY = "INVALID_QUANTITY"
    NO_KERNELS = "NO_KERNELS"
    INVALID_DEPENDENCY = "INVALID_DEPENDENCY"  # on itself, on one session twice, or on what is no id
    INVALID_MOUNT = "INVALID_MOUNT"  # two folders at one path, or a path that cannot be stored
    INVALID_VALUE = "INVALID_VALUE"  # another value that cannot be stored; the detail names it


_ERRORS: Final[Mapping[CreationRejectionCode, type[SchedulerRepoError]]] = MappingProxyType(
    {
        CreationRejectionCode.DUPLICATE: SessionAlreadyExists,
        CreationRejectionCode.SESSION_EXISTS: SessionAlreadyExists,
        CreationRejectionCode.KERNEL_EXISTS: SessionAlreadyExists,
        CreationRejectionCode.SCALING_GROUP_UNKNOWN: ScalingGroupNotFound,
        CreationRejectionCode.OWNER_UNKNOWN: OwnerNotFound,
        CreationRejectionCode.VFOLDER_UNKNOWN: VFolderNotFound,
        CreationRejectionCode.SLOT_TYPE_UNKNOWN: UnknownSlotType,
        CreationRejectionCode.INVALID_QUANTITY: InvalidQuantity,
    }
)


class RejectedSession(msgspec.Struct, frozen=True):
    """A session that was not created, and why; ``detail`` says in words what was found and what to do."""

    session_id: SessionId
    code: CreationRejectionCode
    detail: str

    def to_error(self) -> SchedulerRepoError:
        """Make the typed error that says the same, for who asked for this one session alone.

        SessionAlreadyExists, ScalingGroupNotFound, OwnerNotFound, VFolderNotFound, UnknownSlotType,
        InvalidQuantity, else InvalidInput.
        """
        return _ERRORS.get(self.code, InvalidInput)(self.detail)


class SessionCreationResult(msgspec.Struct, frozen=True):
    """What became of a batch: each of its sessions is in one of the two, in the order given.

    A snapshot that includes ``transaction_id`` has seen what was created; None where nothing was asked.
    """

    created: tuple[SessionId, ...]
    rejected: tuple[RejectedSession, ...]
    transaction_id: Optional[TransactionId] = None
