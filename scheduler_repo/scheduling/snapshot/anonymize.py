"""A snapshot without its names and ids, on which every planner of this package decides as on the original.

Every field is on one of the lists below, by its type or by itself. A field on none is refused, not kept.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Optional, cast
from uuid import UUID

from scheduler_repo.entities.scheduling_data import (
    AgentGain,
    OwnerUsage,
    PendingKernel,
    PendingSession,
    PreemptionCandidate,
    Reservation,
    ReservedKernel,
    ScalingGroupInfo,
    SchedulableAgent,
    SchedulingData,
    SessionDependency,
)
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.entities.snapshot_token import DatabaseIdentity, Snapshot, SnapshotToken
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.scheduling.snapshot.leaves import Change, Leaf, compile_walk
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    DomainName,
    KernelId,
    ProjectId,
    ResourcePolicyName,
    ScalingGroupName,
    SessionId,
    SlotName,
    UserId,
)

# Numbers, times and flags that rules and planners decide by.
KEPT: Final[Mapping[type, frozenset[str]]] = {
    SchedulingData: frozenset({"observed_at", "pending_limit"}),
    ScalingGroupInfo: frozenset({"is_active", "pending_timeout", "preemption_min_runtime"}),
    SlotType: frozenset({"slot_index", "units_per_whole"}),
    PendingSession: frozenset({"priority", "created_at", "requested_start_at", "retry_count"}),
    PendingKernel: frozenset({"kernel_index", "requested_slots"}),
    SessionDependency: frozenset({"is_hopeless"}),
    SchedulableAgent: frozenset(
        {"container_count", "max_containers", "capacity", "occupied", "reserved", "reserved_containers"}
    ),
    Reservation: frozenset({"position"}),
    ReservedKernel: frozenset({"requested_slots"}),
    AgentGain: frozenset({"slots", "container_count"}),
    PreemptionCandidate: frozenset({"priority", "running_since"}),
    OwnerUsage: frozenset(
        {"occupied", "session_count", "slot_limits"} | {"max_concurrent_sessions", "max_kernels_per_session"}
    ),
}

# The instant of no database.
NO_TOKEN: Final = SnapshotToken(
    Snapshot("1:1:"), DatabaseIdentity(0, 0, 0, datetime(1970, 1, 1, tzinfo=UTC)), None
)
# What stands in place of every value of a field.
FIXED: Final[Mapping[type, Mapping[str, object]]] = {
    SchedulingData: {"token": NO_TOKEN},
    UnreadableRow: {"problem": "a word that this version does not know"},
}

# Ids become small numbers, their kind before them, in the same order: a tie between two is broken by it.
_UUIDS: Final[Mapping[object, int]] = {SessionId: 1, KernelId: 2, UserId: 3, ProjectId: 4}
# Names become a word and a number, in the same order too.
_NAMES: Final[Mapping[object, str]] = {
    AgentId: "agent",
    AccessKey: "key",
    DomainName: "domain",
    ScalingGroupName: "group",
    ResourcePolicyName: "policy",
    Architecture: "architecture",
    SlotName: "slot",
}
# The same for texts of no type of their own.
_TEXTS: Final[Mapping[tuple[type, str], str]] = {
    (PendingSession, "name"): "name",
    (SchedulableAgent, "address"): "address",
    (SessionDependency, "unknown_word"): "word",
    (SlotType, "display_unit"): "unit",
}
# Words that tell nothing of a site. A slot's or a unit's is kept by itself; architectures are compared in their
# order, so all of them are kept or none.
_COMMON: Final[Mapping[object, frozenset[str]]] = {
    Architecture: frozenset({"x86_64", "aarch64", "amd64", "arm64", "ppc64le", "riscv64", "s390x"}),
    SlotName: frozenset(
        {"cpu", "mem", "disk", "gpu", "cuda.device", "cuda.shares", "rocm.device", "rocm.shares", "tpu.device"}
    ),
    "unit": frozenset({"", "B", "MiB", "GiB", "core", "cores", "GPU", "GPUs"}),
}
_ENTITIES: Final = frozenset({"session", "scaling group"})


def anonymize(data: SchedulingData) -> SchedulingData:
    """Replace every name, id and text, each by the same wherever it stands, and the database by none.

    Numbers, times and statuses stay, and so do common names of slots, units and architectures. New ids and
    names are in the order of the old, so a plan of the answer is that of ``data`` under other names. Equal
    snapshots give equal answers. Cost: two passes, some 30 µs a pending session.
    """
    renaming = _Renaming()
    compile_walk(SchedulingData, renaming.see)(data)
    renaming.settle()
    return cast(SchedulingData, compile_walk(SchedulingData, renaming.replace)(data))


class _Renaming:
    """The old and new values of each kind: first all are seen, then each gets its new one."""

    def __init__(self) -> None:
        self._seen: dict[object, set[object]] = {}
        self._new: dict[object, dict[object, object]] = {}

    def see(self, leaf: Leaf) -> Optional[Change]:
        """Note what a leaf holds, if it is to be replaced by a number."""
        if (leaf.holder, leaf.field) == (UnreadableRow, "entity_id"):
            return self._see_entity
        if leaf.field in FIXED.get(leaf.holder, {}):
            # What is below is not looked at.
            return lambda value, holder: value
        kind = _kind_of(leaf)
        if kind is None:
            return None
        seen = self._seen.setdefault(kind, set())

        def note(value: object, _: object) -> object:
            seen.add(value)
            return value

        return note

    def settle(self) -> None:
        """Number what was seen, in its order."""
        for kind, seen in self._seen.items():
            self._new[kind] = _number(kind, seen)

    def replace(self, leaf: Leaf) -> Optional[Change]:
        """Choose how to replace what a leaf holds; raises TypeError for a field that is on no list."""
        fixed = FIXED.get(leaf.holder, {})
        if leaf.field in fixed:
            return lambda value, holder: fixed[leaf.field]
        if leaf.holder is UnreadableRow and leaf.field in ("entity", "entity_id"):
            return self._replace_entity_id if leaf.field == "entity_id" else _replace_entity
        kind = _kind_of(leaf)
        if kind is None:
            return None
        new = self._new[kind]
        return lambda value, holder: new[value]

    def _see_entity(self, value: object, row: object) -> object:
        kind, key = _entity(cast(UnreadableRow, row))
        self._seen.setdefault(kind, set()).add(key)
        return value

    def _replace_entity_id(self, value: object, row: object) -> object:
        kind, key = _entity(cast(UnreadableRow, row))
        return str(self._new[kind][key])


def _kind_of(leaf: Leaf) -> object:
    """Return the kind by which a leaf is numbered, None if it is kept or replaced otherwise.

    Raises TypeError for a field that is on no list, so that it cannot slip through.
    """
    if leaf.kind in _UUIDS or leaf.kind in _NAMES:
        return leaf.kind
    text = _TEXTS.get((leaf.holder, leaf.field))
    if text is not None:
        return text
    if leaf.is_struct or leaf.is_word:
        return None
    is_listed = leaf.field in KEPT.get(leaf.holder, ())
    if is_listed or (leaf.holder is UnreadableRow and leaf.field in ("entity", "entity_id")):
        return None
    raise TypeError(f"{leaf.holder.__name__}.{leaf.field} is on no list: say how to anonymize it")


def _number(kind: object, seen: set[object]) -> dict[object, object]:
    if kind in _UUIDS:
        first = _UUIDS[kind] << 96
        return {
            each: UUID(int=first + rank) for rank, each in enumerate(sorted(cast(set[UUID], seen)), start=1)
        }
    names, common = cast(set[str], seen), _COMMON.get(kind, frozenset())
    if kind is Architecture and not names <= common:
        common = frozenset()
    word = _NAMES.get(kind, kind)
    width = len(str(len(names)))
    return {
        each: each if each in common else f"{word}-{rank:0{width}}"
        for rank, each in enumerate(sorted(names), start=1)
    }


def _entity(row: UnreadableRow) -> tuple[object, object]:
    """Return the kind of an unreadable row's id, which is a text there, and the id in its own type."""
    if row.entity == "session":
        try:
            return SessionId, UUID(row.entity_id)
        except ValueError:
            return "row", row.entity_id
    return (ScalingGroupName, row.entity_id) if row.entity in _ENTITIES else ("row", row.entity_id)


def _replace_entity(value: object, _: object) -> object:
    return value if value in _ENTITIES else "row"
