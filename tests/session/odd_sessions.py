"""Sessions that cannot be created, and why."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, cast
from uuid import UUID

import msgspec

from scheduler_repo.entities.kernel import KernelSpec
from scheduler_repo.entities.session import CreationRejectionCode, SessionCreationSpec
from scheduler_repo.entities.vfolder import MountSpec
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
    DomainName,
    ProjectId,
    ScalingGroupName,
    SlotName,
    UserId,
    VFolderId,
)
from tests.support.small_cluster import CPU, kernel_id, session_id

OTHER: Final = UUID(int=99)
Odd = Callable[[SessionCreationSpec], SessionCreationSpec]


def with_(**fields: object) -> Odd:
    """The session with other values."""
    return lambda spec: msgspec.structs.replace(spec, **fields)


def with_kernel(**fields: object) -> Odd:
    """The session with other values in its kernel."""
    return lambda spec: msgspec.structs.replace(
        spec, kernels=(msgspec.structs.replace(spec.kernels[0], **fields),)
    )


def with_mounts(*mounts: object) -> Odd:
    return with_(mounts=mounts)


def mount(path: object, vfolder_id: object = OTHER) -> MountSpec:
    return MountSpec(vfolder_id=cast(VFolderId, vfolder_id), mount_path=cast(str, path))


REFUSALS: Final[list[tuple[Odd, CreationRejectionCode, type[SchedulerRepoError], str]]] = [
    (with_(session_id=session_id(0)), CreationRejectionCode.DUPLICATE, SessionAlreadyExists, "in the batch"),
    (with_kernel(kernel_id=kernel_id(0)), CreationRejectionCode.DUPLICATE, SessionAlreadyExists, "kernels"),
    (with_(session_id=session_id(90)), CreationRejectionCode.SESSION_EXISTS, SessionAlreadyExists, "exists"),
    (
        with_kernel(kernel_id=kernel_id(90)),
        CreationRejectionCode.KERNEL_EXISTS,
        SessionAlreadyExists,
        "kernels",
    ),
    (
        with_(scaling_group=ScalingGroupName("gqu")),
        CreationRejectionCode.SCALING_GROUP_UNKNOWN,
        ScalingGroupNotFound,
        "no scaling group 'gqu'",
    ),
    (
        with_(access_key=AccessKey("kye")),
        CreationRejectionCode.OWNER_UNKNOWN,
        OwnerNotFound,
        "access key 'kye' does not exist",
    ),
    (with_(user_id=UserId(OTHER)), CreationRejectionCode.OWNER_UNKNOWN, OwnerNotFound, f"user {OTHER}"),
    (
        with_(project_id=ProjectId(OTHER)),
        CreationRejectionCode.OWNER_UNKNOWN,
        OwnerNotFound,
        f"project {OTHER}",
    ),
    (with_(domain_name=DomainName("bal")), CreationRejectionCode.OWNER_UNKNOWN, OwnerNotFound, "'bal'"),
    (with_mounts(mount("/m")), CreationRejectionCode.VFOLDER_UNKNOWN, VFolderNotFound, f"no vfolder {OTHER}"),
    (
        with_kernel(requested_slots={SlotName("tpu"): 1}),
        CreationRejectionCode.SLOT_TYPE_UNKNOWN,
        UnknownSlotType,
        "unknown slot tpu",
    ),
    (
        with_kernel(requested_slots={SlotName("\ud800"): 1}),
        CreationRejectionCode.SLOT_TYPE_UNKNOWN,
        UnknownSlotType,
        "unknown slot",
    ),
    (
        with_kernel(requested_slots={CPU: -1}),
        CreationRejectionCode.INVALID_QUANTITY,
        InvalidQuantity,
        "-1 is negative",
    ),
    (
        lambda spec: with_(
            kernels=tuple(KernelSpec(requested_slots={CPU: 2**62}) for _ in range(2)),
        )(spec),
        CreationRejectionCode.INVALID_QUANTITY,
        InvalidQuantity,
        "all kernels together, slot cpu",
    ),
    (with_(kernels=()), CreationRejectionCode.NO_KERNELS, InvalidInput, "has no kernels"),
    (with_(kernels=("k",)), CreationRejectionCode.INVALID_VALUE, InvalidInput, "give a KernelSpec"),
    (
        lambda spec: with_(depends_on=(spec.session_id,))(spec),
        CreationRejectionCode.INVALID_DEPENDENCY,
        InvalidInput,
        "on itself",
    ),
    (
        with_(depends_on=(OTHER, OTHER)),
        CreationRejectionCode.INVALID_DEPENDENCY,
        InvalidInput,
        "one session twice",
    ),
    (with_(depends_on=([],)), CreationRejectionCode.INVALID_DEPENDENCY, InvalidInput, "must be a UUID"),
    (with_mounts(mount("")), CreationRejectionCode.INVALID_MOUNT, InvalidInput, "is empty"),
    (with_mounts(mount("/é" * 600)), CreationRejectionCode.INVALID_MOUNT, InvalidInput, "above 1024 bytes"),
    (with_mounts(mount("/\0")), CreationRejectionCode.INVALID_MOUNT, InvalidInput, "mount path"),
    (with_mounts(mount([])), CreationRejectionCode.INVALID_MOUNT, InvalidInput, "mount path"),
    (with_mounts(mount("/m"), mount("/m")), CreationRejectionCode.INVALID_MOUNT, InvalidInput, "at one path"),
    (with_mounts(mount("/m", "x")), CreationRejectionCode.INVALID_MOUNT, InvalidInput, "vfolder id 'x'"),
    (with_mounts("/m"), CreationRejectionCode.INVALID_MOUNT, InvalidInput, "give a MountSpec"),
    (with_(name="a\0b"), CreationRejectionCode.INVALID_VALUE, InvalidInput, "name 'a"),
    (with_(name="\ud800"), CreationRejectionCode.INVALID_VALUE, InvalidInput, "name"),
    (with_(name=7), CreationRejectionCode.INVALID_VALUE, InvalidInput, "name 7"),
    (with_(access_key=None), CreationRejectionCode.INVALID_VALUE, InvalidInput, "access_key None"),
    (with_(user_id="ada"), CreationRejectionCode.INVALID_VALUE, InvalidInput, "user id 'ada'"),
    (with_(project_id=7), CreationRejectionCode.INVALID_VALUE, InvalidInput, "project id 7"),
    (with_kernel(kernel_id="k"), CreationRejectionCode.INVALID_VALUE, InvalidInput, "kernel id 'k'"),
    (with_kernel(image=None), CreationRejectionCode.INVALID_VALUE, InvalidInput, "image None"),
    (with_kernel(architecture=7), CreationRejectionCode.INVALID_VALUE, InvalidInput, "architecture 7"),
    (with_(priority=2**31), CreationRejectionCode.INVALID_VALUE, InvalidInput, "priority"),
    (with_(designated_agent_ids=("",)), CreationRejectionCode.INVALID_VALUE, InvalidInput, "is empty"),
    (with_(designated_agent_ids=(7,)), CreationRejectionCode.INVALID_VALUE, InvalidInput, "agent id 7"),
    (
        with_(created_at=datetime(2026, 1, 1)),  # noqa: DTZ001 - it is what is tested
        CreationRejectionCode.INVALID_VALUE,
        InvalidInput,
        "must be a datetime with a time zone",
    ),
    (with_(requested_start_at="soon"), CreationRejectionCode.INVALID_VALUE, InvalidInput, "must be a datetime"),
    (
        with_(created_at=datetime.max.replace(tzinfo=UTC)),
        CreationRejectionCode.INVALID_VALUE,
        InvalidInput,
        "cannot be stored",
    ),
]
