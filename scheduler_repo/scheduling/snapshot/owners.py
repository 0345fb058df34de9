"""The owners of the pending sessions, and what they occupy and may occupy."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Optional
from uuid import UUID

import msgspec

from scheduler_repo.entities.scheduling_data import OwnerUsage
from scheduler_repo.scheduling.snapshot.pending import SharedValues
from scheduler_repo.scheduling.snapshot.rows import (
    OwnerLimitsRow,
    PendingOwners,
    PendingSessionRow,
    SessionColumns,
    SurroundingRows,
    bytes_of,
)
from scheduler_repo.scheduling.snapshot.times import read_times
from scheduler_repo.slots import fitted, read_slot_limits
from scheduler_repo.steps import Steps, chunks_of, chunks_taken_from
from scheduler_repo.types import (
    OwnerScope,
    OwnerT,
    ResourcePolicyName,
    SlotLimits,
)

# Text and bytes: to hash an OwnerScope or a UUID of the driver takes several times as long.
OwnerKey = tuple[str, object]
# The columns of OwnerLimitsRow behind the owner's.
LimitColumns = tuple[
    Optional[ResourcePolicyName],
    Optional[list[Optional[int]]],
    Optional[int],
    Optional[int],
    list[Optional[int]],
    Optional[int],
]
# The four columns of owners stand together, in the order of OwnerScope.
_OWNERS = slice(*map(PendingSessionRow._fields.index, ("access_key", "priority")))
_CREATED_AT = PendingSessionRow._fields.index("created_at")


def take_sessions(rows: list[PendingSessionRow]) -> Steps[tuple[PendingOwners, list[SessionColumns]]]:
    """Move pending sessions from ``rows`` into columns, and find their owners."""
    shared = SharedValues()
    sessions = yield from take_columns(rows, shared)
    # UUIDs by their bytes, which have the same order and are compared faster.
    keys_in_order = sorted(shared.access_keys)
    yield
    users_in_order = [shared.users[each] for each in sorted(shared.users)]
    yield
    projects_in_order = [shared.projects[each] for each in sorted(shared.projects)]
    yield
    return PendingOwners(keys_in_order, users_in_order, projects_in_order, sorted(shared.domains)), sessions


def take_columns(rows: list[PendingSessionRow], shared: SharedValues) -> Steps[list[SessionColumns]]:
    """Move pending sessions from ``rows`` into columns, a chunk at a time.

    Equal owners become one object, and what PostgreSQL has sent of a time becomes one.
    """
    sessions: list[SessionColumns] = []
    for chunk in chunks_taken_from(rows):
        columns = list(zip(*chunk, strict=True))
        keys, user_ids, project_ids, domain_names = columns[_OWNERS]
        columns[_OWNERS] = (
            tuple(map(shared.access_keys.setdefault, keys, keys)),
            tuple(map(shared.users.setdefault, map(bytes_of, user_ids), user_ids)),
            tuple(map(shared.projects.setdefault, map(bytes_of, project_ids), project_ids)),
            tuple(map(shared.domains.setdefault, domain_names, domain_names)),
        )
        columns[_CREATED_AT] = tuple(read_times(columns[_CREATED_AT]))
        sessions.append(columns)
        yield
    return sessions


class Usages(msgspec.Struct):
    """Occupancy, session counts and limits of the owners, by scope and id; each is taken out once."""

    width: int
    occupied: dict[OwnerKey, list[int]]
    session_counts: dict[OwnerKey, int]
    limits: dict[OwnerKey, OwnerLimitsRow]

    def of(self, scope: OwnerScope, owners: list[OwnerT]) -> Steps[tuple[OwnerUsage[OwnerT], ...]]:
        """Build the usage of each owner of one scope, in their order."""
        usages: list[OwnerUsage[OwnerT]] = []
        word = scope.value
        for chunk in chunks_of(owners):
            usages.extend(self._of_owner(owner_key(word, owner), owner) for owner in chunk)
            yield
        return tuple(usages)

    def _of_owner(self, key: OwnerKey, owner: OwnerT) -> OwnerUsage[OwnerT]:
        row = self.limits.pop(key, None)
        limits = None if row is None else row[4:]
        return build_usage(
            owner, self.occupied.pop(key, ()), self.session_counts.pop(key, 0), limits, self.width
        )


def build_usage(
    owner: OwnerT, occupied: Sequence[int], session_count: int, limits: Optional[LimitColumns], width: int
) -> OwnerUsage[OwnerT]:
    """Build the usage of one owner; ``limits`` None: it has no quota."""
    if limits is None:
        return OwnerUsage(owner, fitted(occupied, width), session_count, None, (None,) * width, None, None)
    policy, policy_slots, policy_sessions, policy_kernels, own_slots, own_sessions = limits
    slot_limits = _least_of(tuple(policy_slots or ()), tuple(own_slots), width)
    sessions = _least(policy_sessions, own_sessions)
    return OwnerUsage(
        owner, fitted(occupied, width), session_count, policy, slot_limits, sessions, policy_kernels
    )


def build_usages(rows: SurroundingRows, width: int) -> Steps[Usages]:
    """Sort the rows of owners by owner."""
    occupied: dict[OwnerKey, list[int]] = {}
    session_counts: dict[OwnerKey, int] = {}
    for chunk in chunks_taken_from(rows.owner_usage):
        for row in chunk:
            key = _owner_key(row)
            session_counts[key] = row[4]
            occupied[key] = list(map(int, row[5]))
        yield
    limits: dict[OwnerKey, OwnerLimitsRow] = {}
    for limits_chunk in chunks_taken_from(rows.owner_limits):
        limits.update((_owner_key(row), row) for row in limits_chunk)
        yield
    return Usages(width, occupied, session_counts, limits)


def _owner_key(row: Sequence[object]) -> OwnerKey:
    """Return whose row of an owner statement this is: one of its first four columns is set."""
    access_key, user_id, project_id, domain_name = row[:4]
    if access_key is not None:
        return "ACCESS_KEY", access_key
    if isinstance(user_id, UUID):
        return "USER", user_id.bytes
    if isinstance(project_id, UUID):
        return "PROJECT", project_id.bytes
    if domain_name is not None:
        return "DOMAIN", domain_name
    raise ValueError(f"an owner statement returned a row without an owner: {row!r}")


def owner_key(scope: str, owner_id: object) -> OwnerKey:
    """Return the key under which an owner of a scope is looked up."""
    return scope, owner_id.bytes if isinstance(owner_id, UUID) else owner_id


# Owners of one policy mostly have the same limits.
@lru_cache(maxsize=1_000)
def _least_of(policy: tuple[Optional[int], ...], own: tuple[Optional[int], ...], width: int) -> SlotLimits:
    """Return the least of both limits of each slot; what is missing at the end of either is no limit."""
    return read_slot_limits([_least(*pair) for pair in zip_longest(policy, own)], width)


def _least(one: Optional[int], other: Optional[int]) -> Optional[int]:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
