"""New sessions as rows: checked, and their amounts arranged, before any of it is sent."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, NoReturn, cast

from scheduler_repo.entities.kernel import KernelSpec
from scheduler_repo.entities.session import CreationRejectionCode, RejectedSession, SessionCreationSpec
from scheduler_repo.entities.vfolder import MountSpec
from scheduler_repo.errors import InvalidInput, InvalidQuantity, UnknownSlotType
from scheduler_repo.quoting import printable, quoted, shortened
from scheduler_repo.scheduling.rules.feasibility import total_slots
from scheduler_repo.slots import checked_int32, checked_quantity, slot_vector
from scheduler_repo.types import AgentId, SessionId, SlotName, SlotVector
from scheduler_repo.validation import check_ids, check_text

Row = tuple[object, ...]

_OWNER_COLUMNS = ("access_key", "user_id", "project_id", "domain_name")
SESSION_COLUMNS: Final = (
    "id",
    "name",
    "scaling_group",
    *_OWNER_COLUMNS,
    "session_type",
    "cluster_mode",
    "priority",
    "created_at",
    "requested_start_at",
    "designated_agent_ids",
)
KERNEL_COLUMNS: Final = (
    "id",
    "session_id",
    "kernel_index",
    "scaling_group",
    *_OWNER_COLUMNS,
    "image",
    "architecture",
    "requested_slots",
)
DEPENDENCY_COLUMNS: Final = ("session_id", "depends_on")
MOUNT_COLUMNS: Final = ("session_id", "vfolder_id", "mount_path", "permission")

# What an index can hold; a path is part of a key.
_LONGEST_PATH: Final = 1_024
_MICROSECOND: Final = timedelta(microseconds=1)


class SessionRows(NamedTuple):
    """New sessions as rows of each table; arrays stand in the last column of sessions and of kernels.

    One list for each table, however many the sessions: a list for each session costs the collector more than
    all else here.
    """

    sessions: list[Row]
    kernels: list[Row]
    dependencies: list[Row]
    mounts: list[Row]


def no_rows() -> SessionRows:
    """Make a place for rows."""
    return SessionRows([], [], [], [])


def subject_of(session: SessionCreationSpec) -> str:
    """Name a session in a message."""
    return f"session {shortened(session.name)} ({session.session_id})"


def designated_agents(session_row: Row) -> list[AgentId]:
    """The agents that a session designates, by its row."""
    return cast(list[AgentId], session_row[-1])


def session_of(kernel_row: Row) -> SessionId:
    """The session that a kernel is of, by its row."""
    return cast(SessionId, kernel_row[1])


def requested_slots(kernel_row: Row) -> SlotVector:
    """What a kernel requests, by its row."""
    return cast(SlotVector, kernel_row[-1])


class Refused(Exception):
    """One session cannot be created as it was given; never leaves this folder."""

    def __init__(self, rejection: RejectedSession) -> None:
        """Take what to tell the caller."""
        super().__init__(rejection.detail)
        self.rejection = rejection


def add_rows(
    rows: SessionRows,
    session: SessionCreationSpec,
    position: int,
    now: datetime,
    slot_names: Sequence[SlotName],
) -> None:
    """Check one session and add it to the rows; raises Refused, and then it may have been added in part.

    ``position`` is its place in the batch: one batch has one clock, and keeps its order by a microsecond each.
    """
    try:
        _add(rows, session, position, now, slot_names)
    except UnknownSlotType as error:
        refuse(session, CreationRejectionCode.SLOT_TYPE_UNKNOWN, str(error))
    except InvalidQuantity as error:
        refuse(session, CreationRejectionCode.INVALID_QUANTITY, str(error))
    except InvalidInput as error:
        refuse(session, CreationRejectionCode.INVALID_VALUE, str(error))


def check_storable(session: SessionCreationSpec) -> None:
    """Raise Refused for an id or text that the database would refuse the whole batch for."""
    subject = f"session {session.session_id}"
    try:
        for name in ("name", "scaling_group", "access_key", "domain_name"):
            check_text(getattr(session, name), f"{subject}, {name}")
        check_ids(f"{subject}: user", (session.user_id,))
        check_ids(f"{subject}: project", (session.project_id,))
        for index, kernel in enumerate(_checked_kernels(session, subject)):
            check_ids(f"{subject}: kernel", (kernel.kernel_id,))
            check_text(kernel.image, f"{subject}, kernel {index}, image")
            if kernel.architecture is not None:
                check_text(kernel.architecture, f"{subject}, kernel {index}, architecture")
    except InvalidInput as error:
        refuse(session, CreationRejectionCode.INVALID_VALUE, str(error))


def refuse(session: SessionCreationSpec, code: CreationRejectionCode, detail: str) -> NoReturn:
    """Raise Refused for a session; lone surrogates in ``detail`` are made storable."""
    raise Refused(RejectedSession(session.session_id, code, printable(detail))) from None


def _add(
    rows: SessionRows,
    session: SessionCreationSpec,
    position: int,
    now: datetime,
    slot_names: Sequence[SlotName],
) -> None:
    session_id = session.session_id
    subject = subject_of(session)
    kernels = _checked_kernels(session, subject)
    for when in (session.created_at, session.requested_start_at):
        if when is not None:
            _check_time(when, subject)
    checked_int32(session.priority, f"{subject}, priority")
    for agent_id in session.designated_agent_ids:
        check_text(agent_id, f"{subject}, designated agent id")
        if not agent_id:
            raise InvalidInput(f"{subject}: a designated agent id is empty; give ids, or leave all out for any")
    owners = (session.access_key, session.user_id, session.project_id, session.domain_name)
    requests: list[SlotVector] = []
    for index, kernel in enumerate(kernels):
        requested = slot_vector(kernel.requested_slots, slot_names, f"{subject}, kernel {index}")
        requests.append(requested)
        rows.kernels.append(
            (
                kernel.kernel_id,
                session_id,
                index,
                session.scaling_group,
                *owners,
                kernel.image,
                kernel.architecture,
                requested,
            )
        )
    if len(requests) > 1:
        for slot_name, amount in zip(slot_names, total_slots(requests), strict=True):
            checked_quantity(amount, f"{subject}, all kernels together, slot {slot_name}")
    rows.sessions.append(
        (
            session_id,
            session.name,
            session.scaling_group,
            *owners,
            session.session_type.value,
            session.cluster_mode.value,
            session.priority,
            session.created_at or now + position * _MICROSECOND,
            session.requested_start_at,
            sorted(session.designated_agent_ids),
        )
    )
    if session.depends_on:
        rows.dependencies.extend(_dependency_rows(session, subject))
    if session.mounts:
        rows.mounts.extend(_mount_rows(session, subject))


def _checked_kernels(session: SessionCreationSpec, subject: str) -> tuple[KernelSpec, ...]:
    if not session.kernels:
        refuse(
            session,
            CreationRejectionCode.NO_KERNELS,
            f"{subject} has no kernels, and would never be placed; give it one or more",
        )
    _check_kinds(session.kernels, KernelSpec, subject)
    return session.kernels


def _dependency_rows(session: SessionCreationSpec, subject: str) -> list[Row]:
    code, depends_on = CreationRejectionCode.INVALID_DEPENDENCY, session.depends_on
    try:
        check_ids(f"{subject} depends on one whose", depends_on)
    except InvalidInput as error:
        refuse(session, code, str(error))
    if session.session_id in depends_on or len(set(depends_on)) < len(depends_on):
        refuse(session, code, f"{subject} depends on itself, or on one session twice; name each other one once")
    return [(session.session_id, other) for other in depends_on]


def _mount_rows(session: SessionCreationSpec, subject: str) -> list[Row]:
    code = CreationRejectionCode.INVALID_MOUNT
    paths = set()
    try:
        _check_kinds(session.mounts, MountSpec, subject)
        for mount in session.mounts:
            check_ids(f"{subject}: vfolder", (mount.vfolder_id,))
            check_text(mount.mount_path, f"{subject}, mount path")
            paths.add(mount.mount_path)
    except InvalidInput as error:
        refuse(session, code, str(error))
    for path in paths:
        if not 0 < len(path.encode()) <= _LONGEST_PATH:
            refuse(
                session, code, f"{subject}: mount path {quoted(path)} is empty or above {_LONGEST_PATH} bytes"
            )
    if len(paths) < len(session.mounts):
        refuse(session, code, f"{subject} mounts two vfolders at one path; give each a path of its own")
    return [
        (session.session_id, mount.vfolder_id, mount.mount_path, mount.permission.value)
        for mount in session.mounts
    ]


def _check_time(when: object, subject: str) -> None:
    if not isinstance(when, datetime):
        raise InvalidInput(f"{subject}: the time {quoted(when)} is a {type(when).__name__}; give a datetime")
    if when.tzinfo is None:
        raise InvalidInput(f"{subject}: the time {when.isoformat()} has no time zone; give it one")
    if not 1 < when.year < 9999:
        raise InvalidInput(f"{subject}: the time {when.isoformat()} cannot be stored; leave it out")


def _check_kinds(items: Iterable[object], kind: type, subject: str) -> None:
    for item in items:
        if not isinstance(item, kind):
            raise InvalidInput(
                f"{subject}: {quoted(item)} is a {type(item).__name__}, it must be a {kind.__name__}"
            )
