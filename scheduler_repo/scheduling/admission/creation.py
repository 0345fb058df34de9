"""The gate of new sessions: which of a batch can be created, and the rows of those that can.

Values are checked before any query; amounts against the cluster's slot types; references against what exists.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final, NamedTuple, NoReturn, Optional

import msgspec

from scheduler_repo.entities.kernel import KernelSpec
from scheduler_repo.entities.session import CreationRejectionCode, RejectedSession, SessionCreationSpec
from scheduler_repo.entities.vfolder import MountSpec
from scheduler_repo.errors import InvalidInput, InvalidQuantity, UnknownSlotType
from scheduler_repo.quoting import printable, quoted, shortened
from scheduler_repo.scheduling.rules.feasibility import total_slots
from scheduler_repo.slots import slot_vector
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    DomainName,
    KernelId,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SlotName,
    SlotVector,
    UserId,
    VFolderId,
    owner_ids,
)
from scheduler_repo.validation import (
    Int32,
    check_amount,
    check_id,
    check_ids,
    check_range,
    check_text,
    check_time,
    checked_batch,
)

# A path is part of a key, and an index holds no longer one.
_LONGEST_PATH: Final = 1_024
_MICROSECOND: Final = timedelta(microseconds=1)


class NewSession(NamedTuple):
    """A row of sessions; fields are named as their columns are."""

    id: SessionId
    name: str
    scaling_group: ScalingGroupName
    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName
    session_type: str
    cluster_mode: str
    priority: int
    created_at: datetime
    requested_start_at: Optional[datetime]
    designated_agent_ids: list[AgentId]


class NewKernel(NamedTuple):
    """A row of kernels; fields are named as their columns are."""

    id: KernelId
    session_id: SessionId
    kernel_index: int
    scaling_group: ScalingGroupName
    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName
    image: str
    architecture: Optional[Architecture]
    requested_slots: SlotVector


class NewDependency(NamedTuple):
    """A row of session_dependencies; fields are named as their columns are."""

    session_id: SessionId
    depends_on: SessionId


class NewMount(NamedTuple):
    """A row of session_vfolder_mounts; fields are named as their columns are."""

    session_id: SessionId
    vfolder_id: VFolderId
    mount_path: str
    permission: str


class NewRows(NamedTuple):
    """The rows of new sessions by table: one list for all costs the collector less than a list per session."""

    sessions: list[NewSession]
    kernels: list[NewKernel]
    dependencies: list[NewDependency]
    mounts: list[NewMount]

    @classmethod
    def empty(cls) -> "NewRows":
        """Build lists to add rows to."""
        return cls([], [], [], [])


class ExistingReferences(msgspec.Struct, frozen=True):
    """The groups, owners and vfolders that exist, of all that a batch names."""

    scaling_groups: frozenset[object]
    key_owners: frozenset[tuple[object, object]]
    project_domains: frozenset[tuple[object, object]]
    vfolders: frozenset[object]


class _Refused(Exception):
    """One session cannot be created; never leaves this module."""

    def __init__(self, rejection: RejectedSession) -> None:
        super().__init__(rejection.detail)
        self.rejection = rejection


def check_session_ids(specs: object) -> None:
    """Raise InvalidInput unless these are specs whose ids an answer can name."""
    check_ids([spec.session_id for spec in checked_batch(specs, SessionCreationSpec, "sessions")], "session")


def check_sessions(specs: Sequence[SessionCreationSpec]) -> None:
    """Raise the error of the first session with a value that cannot be stored; amounts are not looked at."""
    check_session_ids(specs)
    try:
        for spec in specs:
            _check_values(spec)
    except _Refused as refused:
        raise refused.rejection.to_error() from None


def build_rows(specs: Sequence[SessionCreationSpec], now: datetime, slot_names: Sequence[SlotName]) -> NewRows:
    """Build the rows of checked sessions, all or none; raises UnknownSlotType or InvalidQuantity.

    Sessions are ordered by id: of two callers with the same ones the second waits, instead of deadlocking.
    """
    rows = NewRows.empty()
    try:
        for position, spec in enumerate(specs):
            _add_rows(rows, spec, position, now, slot_names)
    except _Refused as refused:
        raise refused.rejection.to_error() from None
    rows.sessions.sort(key=attrgetter("id"))
    return rows


class CreationBatch:
    """A batch of which each session is created or rejected by itself."""

    def __init__(
        self, specs: Sequence[SessionCreationSpec], now: datetime, slot_names: Sequence[SlotName]
    ) -> None:
        """Check values and amounts of specs that passed ``check_session_ids``; rejects, and raises nothing."""
        self._specs = specs
        self._rejected: dict[int, RejectedSession] = {}
        self._sound: dict[int, NewRows] = {}
        for position, spec in enumerate(specs):
            rows = NewRows.empty()
            try:
                _check_values(spec)
                _add_rows(rows, spec, position, now, slot_names)
            except _Refused as refused:
                self._rejected[position] = refused.rejection
            else:
                self._sound[position] = rows

    @property
    def sound(self) -> list[SessionCreationSpec]:
        """The sessions whose values and amounts can be stored, in the order given."""
        return [self._specs[position] for position in self._sound]

    @property
    def rejected(self) -> tuple[RejectedSession, ...]:
        """Those rejected so far, in the order given."""
        return tuple(self._rejected[position] for position in sorted(self._rejected))

    def admit(self, existing: ExistingReferences) -> NewRows:
        """Return the rows of the sound sessions that name what exists, under ids that no earlier one has."""
        session_ids: set[SessionId] = set()
        kernel_ids: set[KernelId] = set()
        admitted = NewRows.empty()
        for position, rows in self._sound.items():
            spec = self._specs[position]
            own = {kernel.kernel_id for kernel in spec.kernels}
            try:
                _check_references(spec, existing)
                if spec.session_id in session_ids or own & kernel_ids or len(own) < len(spec.kernels):
                    _refuse(
                        spec,
                        CreationRejectionCode.DUPLICATE,
                        f"{_subject(spec)}: its id, or one of its kernels', is there before in the batch; "
                        "name each once",
                    )
            except _Refused as refused:
                self._rejected[position] = refused.rejection
                continue
            session_ids.add(spec.session_id)
            kernel_ids |= own
            admitted.sessions.extend(rows.sessions)
            admitted.kernels.extend(rows.kernels)
            admitted.dependencies.extend(rows.dependencies)
            admitted.mounts.extend(rows.mounts)
        return admitted

    def reject_existing(self, created: Collection[SessionId], kernel_exists: Collection[SessionId]) -> None:
        """Reject the admitted sessions that were not created: their id is there, or one of their kernels'."""
        for position, spec in enumerate(self._specs):
            if position in self._rejected or spec.session_id in created:
                continue
            code, found = CreationRejectionCode.SESSION_EXISTS, "a session of this id"
            if spec.session_id in kernel_exists:
                code, found = CreationRejectionCode.KERNEL_EXISTS, "one of its kernels"
            self._rejected[position] = _reject(
                spec, code, f"{_subject(spec)}: {found} exists already; give new ids"
            )


def _reject(spec: SessionCreationSpec, code: CreationRejectionCode, detail: str) -> RejectedSession:
    # Lone surrogates cannot be stored with the answer.
    return RejectedSession(spec.session_id, code, printable(detail))


def _refuse(spec: SessionCreationSpec, code: CreationRejectionCode, detail: str) -> NoReturn:
    raise _Refused(_reject(spec, code, detail)) from None


def _subject(spec: SessionCreationSpec) -> str:
    return f"session {shortened(spec.name)} ({spec.session_id})"


def _check_values(spec: SessionCreationSpec) -> None:
    """Raise _Refused for a value that the database would refuse the whole batch for."""
    if not spec.kernels:
        _refuse(
            spec,
            CreationRejectionCode.NO_KERNELS,
            f"session {spec.session_id} has no kernels, and would never be placed; give it one or more",
        )
    for check, code in _CHECKS:
        try:
            check(spec)
        except InvalidInput as error:
            _refuse(spec, code, str(error))


def _check_fields(spec: SessionCreationSpec) -> None:
    subject = f"session {spec.session_id}"
    for name in ("name", "scaling_group", "access_key", "domain_name"):
        check_text(getattr(spec, name), f"{subject}, {name}")
    check_id(spec.user_id, f"{subject}: user")
    check_id(spec.project_id, f"{subject}: project")
    for when in (spec.created_at, spec.requested_start_at):
        if when is not None:
            check_time(when, f"{subject}, the time")
            if not 1 < when.year < 9999:
                raise InvalidInput(f"{subject}: the time {when.isoformat()} cannot be stored; leave it out")
    check_range(spec.priority, Int32, f"{subject}, priority")
    for agent_id in spec.designated_agent_ids:
        check_text(agent_id, f"{subject}, designated agent id")
        if not agent_id:
            raise InvalidInput(f"{subject}: a designated agent id is empty; give ids, or leave all out for any")
    for index, kernel in enumerate(checked_batch(spec.kernels, KernelSpec, f"{subject}, kernels")):
        check_id(kernel.kernel_id, f"{subject}: kernel")
        check_text(kernel.image, f"{subject}, kernel {index}, image")
        if kernel.architecture is not None:
            check_text(kernel.architecture, f"{subject}, kernel {index}, architecture")


def _check_dependencies(spec: SessionCreationSpec) -> None:
    subject, depends_on = _subject(spec), spec.depends_on
    check_ids(depends_on, f"{subject} depends on one whose")
    if spec.session_id in depends_on or len(set(depends_on)) < len(depends_on):
        raise InvalidInput(f"{subject} depends on itself, or on one session twice; name each other one once")


def _check_mounts(spec: SessionCreationSpec) -> None:
    subject, paths = _subject(spec), set()
    for mount in checked_batch(spec.mounts, MountSpec, f"{subject}, mounts"):
        check_id(mount.vfolder_id, f"{subject}: vfolder")
        check_text(mount.mount_path, f"{subject}, mount path")
        if not 0 < len(mount.mount_path.encode()) <= _LONGEST_PATH:
            raise InvalidInput(
                f"{subject}: mount path {quoted(mount.mount_path)} is empty or above {_LONGEST_PATH} bytes"
            )
        paths.add(mount.mount_path)
    if len(paths) < len(spec.mounts):
        raise InvalidInput(f"{subject} mounts two vfolders at one path; give each a path of its own")


_CHECKS: Final = (
    (_check_fields, CreationRejectionCode.INVALID_VALUE),
    (_check_dependencies, CreationRejectionCode.INVALID_DEPENDENCY),
    (_check_mounts, CreationRejectionCode.INVALID_MOUNT),
)


def _check_references(spec: SessionCreationSpec, existing: ExistingReferences) -> None:
    subject = _subject(spec)
    if spec.scaling_group not in existing.scaling_groups:
        _refuse(
            spec,
            CreationRejectionCode.SCALING_GROUP_UNKNOWN,
            f"{subject}: there is no scaling group {quoted(spec.scaling_group)}; correct it or create one",
        )
    if (spec.access_key, spec.user_id) not in existing.key_owners:
        _refuse(
            spec,
            CreationRejectionCode.OWNER_UNKNOWN,
            f"{subject}: access key {quoted(spec.access_key)} does not exist, or is not of user "
            f"{spec.user_id}; correct either, or register the keypair",
        )
    if (spec.project_id, spec.domain_name) not in existing.project_domains:
        _refuse(
            spec,
            CreationRejectionCode.OWNER_UNKNOWN,
            f"{subject}: project {spec.project_id} does not exist, or is not of domain "
            f"{quoted(spec.domain_name)}; correct either, or register the project",
        )
    for mount in spec.mounts:
        if mount.vfolder_id not in existing.vfolders:
            _refuse(
                spec,
                CreationRejectionCode.VFOLDER_UNKNOWN,
                f"{subject}: there is no vfolder {mount.vfolder_id}; correct the id or create it",
            )


def _add_rows(
    rows: NewRows, spec: SessionCreationSpec, position: int, now: datetime, slot_names: Sequence[SlotName]
) -> None:
    """Add a checked session to the rows; raises _Refused for its amounts.

    A batch has one clock: ``position`` in it keeps its order, by a microsecond each.
    """
    try:
        requests = _requested_slots(spec, slot_names)
    except UnknownSlotType as error:
        _refuse(spec, CreationRejectionCode.SLOT_TYPE_UNKNOWN, str(error))
    except InvalidQuantity as error:
        _refuse(spec, CreationRejectionCode.INVALID_QUANTITY, str(error))
    session_id = spec.session_id
    owners = owner_ids(spec)
    rows.sessions.append(
        NewSession(
            session_id,
            spec.name,
            spec.scaling_group,
            *owners,
            spec.session_type.value,
            spec.cluster_mode.value,
            spec.priority,
            spec.created_at or now + position * _MICROSECOND,
            spec.requested_start_at,
            sorted(spec.designated_agent_ids),
        )
    )
    rows.kernels.extend(
        NewKernel(
            kernel.kernel_id,
            session_id,
            index,
            spec.scaling_group,
            *owners,
            kernel.image,
            kernel.architecture,
            requested,
        )
        for index, (kernel, requested) in enumerate(zip(spec.kernels, requests, strict=True))
    )
    rows.dependencies.extend(NewDependency(session_id, other) for other in spec.depends_on)
    rows.mounts.extend(
        NewMount(session_id, mount.vfolder_id, mount.mount_path, mount.permission.value)
        for mount in spec.mounts
    )


def _requested_slots(spec: SessionCreationSpec, slot_names: Sequence[SlotName]) -> list[SlotVector]:
    subject = _subject(spec)
    requests = [
        slot_vector(kernel.requested_slots, slot_names, f"{subject}, kernel {index}")
        for index, kernel in enumerate(spec.kernels)
    ]
    if len(requests) > 1:
        for slot_name, amount in zip(slot_names, total_slots(requests), strict=True):
            check_amount(amount, f"{subject}, all kernels together, slot {slot_name}")
    return requests
