"""The gate of new sessions: which of a batch can be created, judged by their values and by what exists."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Optional, Union

import msgspec

from scheduler_repo.entities.kernel import KernelSpec
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.session import CreationRejectionCode, RejectedSession, SessionCreationSpec
from scheduler_repo.entities.vfolder import MountSpec
from scheduler_repo.errors import InvalidInput, InvalidQuantity, UnknownSlotType
from scheduler_repo.quoting import printable, quoted, shortened
from scheduler_repo.scheduling.rules.feasibility import total_slots
from scheduler_repo.slots import slot_vector
from scheduler_repo.steps import Steps
from scheduler_repo.types import OwnerScope, SessionId, SlotName, SlotVector
from scheduler_repo.validation import (
    Int32,
    check_amount,
    check_id,
    check_ids,
    check_name,
    check_range,
    check_stored_agent_ids,
    check_text,
    check_time,
    checked_batch,
)

_MICROSECOND: Final = timedelta(microseconds=1)


class _Obstacle(NamedTuple):
    code: CreationRejectionCode
    detail: str
    reference: Optional[str] = None
    scope: Optional[OwnerScope] = None


_REPEATED: Final = _Obstacle(
    CreationRejectionCode.DUPLICATE,
    "its id, or one of its kernels', is there before in the batch; name each once",
)


class NewSession(msgspec.Struct, frozen=True, gc=False):
    """A session whose values can be stored; ``requested_slots`` are each kernel's, by slot index."""

    spec: SessionCreationSpec
    created_at: datetime
    requested_slots: tuple[SlotVector, ...]


class ExistingReferences(msgspec.Struct, frozen=True):
    """The groups, owners and vfolders that exist, of all that a batch names."""

    scaling_groups: frozenset[object]
    key_owners: frozenset[tuple[object, object]]
    project_domains: frozenset[tuple[object, object]]
    vfolders: frozenset[object]


def check_session_ids(specs: object) -> None:
    """Raise InvalidInput unless these are specs whose ids an answer can name."""
    check_ids([spec.session_id for spec in checked_batch(specs, SessionCreationSpec, "sessions")], "session")


def check_sessions(specs: Sequence[SessionCreationSpec]) -> Steps[None]:
    """Raise the error of the first session with a value that cannot be stored; amounts are not checked."""
    check_session_ids(specs)
    for spec in specs:
        rejection = _judge_values(spec)
        if rejection is not None:
            raise rejection.to_error()
        yield


def build_session(
    spec: SessionCreationSpec, position: int, now: datetime, slot_names: Sequence[SlotName]
) -> NewSession:
    """Arrange the amounts of a checked session; raises UnknownSlotType and InvalidQuantity.

    A batch has one clock: ``position`` in it keeps its order, by a microsecond each.
    """
    subject = _name(spec)
    requested = tuple(
        slot_vector(kernel.requested_slots, slot_names, f"{subject}, kernel {index}")
        for index, kernel in enumerate(spec.kernels)
    )
    if len(requested) > 1:
        for slot_name, amount in zip(slot_names, total_slots(requested), strict=True):
            check_amount(amount, f"{subject}, all kernels together, slot {slot_name}")
    return NewSession(spec, spec.created_at or now + position * _MICROSECOND, requested)


class CreationBatch:
    """A batch of which each session is created or rejected by itself."""

    def __init__(self, specs: Sequence[SessionCreationSpec]) -> None:
        """Hold specs that passed ``check_session_ids``; see ``judge``."""
        self._specs = specs
        self._rejected: dict[int, RejectedSession] = {}
        self._sound: dict[int, NewSession] = {}

    @classmethod
    def judge(
        cls, specs: Sequence[SessionCreationSpec], now: datetime, slot_names: Sequence[SlotName]
    ) -> "Steps[CreationBatch]":
        """Judge values and amounts of specs that passed ``check_session_ids``; raises nothing."""
        batch = cls(specs)
        for position, spec in enumerate(specs):
            judged = _judge_values(spec) or _judge_amounts(spec, position, now, slot_names)
            if isinstance(judged, NewSession):
                batch._sound[position] = judged
            else:
                batch._rejected[position] = judged
            yield
        return batch

    @property
    def sound(self) -> list[SessionCreationSpec]:
        """The sessions whose values and amounts can be stored, in the order given."""
        return [new.spec for new in self._sound.values()]

    @property
    def rejected(self) -> tuple[RejectedSession, ...]:
        """Those rejected so far, in the order given."""
        return tuple(self._rejected[position] for position in sorted(self._rejected))

    def reject_blocked(self, blocked: Mapping[SessionId, RowLocked]) -> None:
        """Reject the sound sessions that name a row which another transaction has locked."""
        for position, new in list(self._sound.items()) if blocked else ():
            row = blocked.get(new.spec.session_id)
            if row is not None:
                code, detail = CreationRejectionCode.ROW_LOCKED, f"{_name(new.spec)}: {row.describe()}"
                self._rejected[position] = RejectedSession(new.spec.session_id, code, printable(detail), row)
                del self._sound[position]

    def admit(self, existing: ExistingReferences) -> Steps[list[NewSession]]:
        """Return the sound sessions that name what exists, under ids that no earlier one of them has."""
        admitted: list[NewSession] = []
        session_ids: set[object] = set()
        kernel_ids: set[object] = set()
        for position, new in self._sound.items():
            yield
            spec = new.spec
            own = {kernel.kernel_id for kernel in spec.kernels}
            is_repeated = spec.session_id in session_ids or own & kernel_ids or len(own) < len(spec.kernels)
            obstacle = next(_find_missing(spec, existing), _REPEATED if is_repeated else None)
            if obstacle is not None:
                rejection = _reject(spec, obstacle.code, f"{_name(spec)}: {obstacle.detail}")
                self._rejected[position] = msgspec.structs.replace(
                    rejection, reference=obstacle.reference, scope=obstacle.scope
                )
                continue
            session_ids.add(spec.session_id)
            kernel_ids |= own
            admitted.append(new)
        return admitted

    def leave_out_rings(
        self, admitted: Sequence[NewSession], rings: Sequence[Collection[SessionId]]
    ) -> list[NewSession]:
        """Reject the admitted sessions that would wait for each other, and return the others."""
        if not rings:
            return list(admitted)
        rejected = {each.session_id: each for each in reject_rings([new.spec for new in admitted], rings)}
        for position, new in self._sound.items():
            rejection = rejected.get(new.spec.session_id)
            if rejection is not None and position not in self._rejected:
                self._rejected[position] = rejection
        return [new for new in admitted if new.spec.session_id not in rejected]

    def reject_existing(
        self, created: Collection[SessionId], kernel_exists: Collection[SessionId]
    ) -> Steps[None]:
        """Reject the admitted sessions that were not created: their id is there, or one of their kernels'."""
        for position, spec in enumerate(self._specs):
            yield
            if position in self._rejected or spec.session_id in created:
                continue
            code, found = CreationRejectionCode.SESSION_EXISTS, "a session of this id"
            if spec.session_id in kernel_exists:
                code, found = CreationRejectionCode.KERNEL_EXISTS, "one of its kernels"
            detail = f"{_name(spec)}: {found} exists already; give new ids"
            self._rejected[position] = _reject(spec, code, detail)


def reject_rings(
    specs: Sequence[SessionCreationSpec], rings: Sequence[Collection[SessionId]]
) -> Iterator[RejectedSession]:
    """Yield a rejection for each of the sessions that is in a ring of dependencies."""
    ring_of = {session_id: ring for ring in rings for session_id in ring}
    for spec in specs if ring_of else ():
        ring = ring_of.get(spec.session_id, ())
        other = next((each for each in spec.depends_on if each in ring), None)
        if other is not None:
            yield _reject(
                spec,
                CreationRejectionCode.INVALID_DEPENDENCY,
                f"{_name(spec)} depends on {other}, which depends on it, in a ring of {len(ring)}: none could "
                "ever start; leave one of these dependencies out",
            )


def _reject(spec: SessionCreationSpec, code: CreationRejectionCode, detail: object) -> RejectedSession:
    # Lone surrogates cannot be stored with the answer.
    return RejectedSession(spec.session_id, code, printable(str(detail)))


def _name(spec: SessionCreationSpec) -> str:
    return f"session {shortened(spec.name)} ({spec.session_id})"


def _judge_amounts(
    spec: SessionCreationSpec, position: int, now: datetime, slot_names: Sequence[SlotName]
) -> Union[NewSession, RejectedSession]:
    try:
        return build_session(spec, position, now, slot_names)
    except UnknownSlotType as error:
        return _reject(spec, CreationRejectionCode.SLOT_TYPE_UNKNOWN, error)
    except InvalidQuantity as error:
        return _reject(spec, CreationRejectionCode.INVALID_QUANTITY, error)


def _find_missing(spec: SessionCreationSpec, existing: ExistingReferences) -> Iterator[_Obstacle]:
    if spec.scaling_group not in existing.scaling_groups:
        yield _Obstacle(
            CreationRejectionCode.SCALING_GROUP_UNKNOWN,
            f"there is no scaling group {quoted(spec.scaling_group)}; correct it or create one",
            spec.scaling_group,
        )
    if (spec.access_key, spec.user_id) not in existing.key_owners:
        yield _Obstacle(
            CreationRejectionCode.OWNER_UNKNOWN,
            f"access key {quoted(spec.access_key)} does not exist, or is not of user {spec.user_id}; "
            "correct either, or register the keypair",
            spec.access_key,
            OwnerScope.ACCESS_KEY,
        )
    if (spec.project_id, spec.domain_name) not in existing.project_domains:
        yield _Obstacle(
            CreationRejectionCode.OWNER_UNKNOWN,
            f"project {spec.project_id} does not exist, or is not of domain {quoted(spec.domain_name)}; "
            "correct either, or register the project",
            str(spec.project_id),
            OwnerScope.PROJECT,
        )
    for mount in spec.mounts:
        if mount.vfolder_id not in existing.vfolders:
            yield _Obstacle(
                CreationRejectionCode.VFOLDER_UNKNOWN,
                f"there is no vfolder {mount.vfolder_id}; correct the id or create it",
                str(mount.vfolder_id),
            )


def _judge_values(spec: SessionCreationSpec) -> Optional[RejectedSession]:
    """Reject a session with a value that the database would refuse the whole batch for."""
    for check, code in _CHECKS:
        try:
            check(spec)
        except InvalidInput as error:
            return _reject(spec, code, error)
    return None


def _check_number_of_kernels(spec: SessionCreationSpec) -> None:
    if not spec.kernels:
        raise InvalidInput(
            f"session {spec.session_id} has no kernels, and would never be placed; give it one or more"
        )


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
    check_stored_agent_ids(spec.designated_agent_ids, f"{subject}, designated agent id")
    for index, kernel in enumerate(checked_batch(spec.kernels, KernelSpec, f"{subject}, kernels")):
        check_id(kernel.kernel_id, f"{subject}: kernel")
        check_text(kernel.image, f"{subject}, kernel {index}, image")
        if kernel.architecture is not None:
            check_text(kernel.architecture, f"{subject}, kernel {index}, architecture")


def _check_dependencies(spec: SessionCreationSpec) -> None:
    depends_on = spec.depends_on
    if not depends_on:
        return
    subject = _name(spec)
    check_ids(depends_on, f"{subject} depends on one whose")
    if spec.session_id in depends_on or len(set(depends_on)) < len(depends_on):
        raise InvalidInput(f"{subject} depends on itself, or on one session twice; name each other one once")


def _check_mounts(spec: SessionCreationSpec) -> None:
    if not spec.mounts:
        return
    subject, paths = _name(spec), set()
    for mount in checked_batch(spec.mounts, MountSpec, f"{subject}, mounts"):
        check_id(mount.vfolder_id, f"{subject}: vfolder")
        check_name(mount.mount_path, f"{subject}, mount path")
        paths.add(mount.mount_path)
    if len(paths) < len(spec.mounts):
        raise InvalidInput(f"{subject} mounts two vfolders at one path; give each a path of its own")


# Names can be written into messages only after the fields were checked.
_CHECKS: Final[tuple[tuple[Callable[[SessionCreationSpec], None], CreationRejectionCode], ...]] = (
    (_check_number_of_kernels, CreationRejectionCode.NO_KERNELS),
    (_check_fields, CreationRejectionCode.INVALID_VALUE),
    (_check_dependencies, CreationRejectionCode.INVALID_DEPENDENCY),
    (_check_mounts, CreationRejectionCode.INVALID_MOUNT),
)
