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
    OwnerRow,
    PendingOwners,
    PendingSessionRow,
    SessionColumns,
    bytes_of,
)
from scheduler_repo.scheduling.snapshot.sent_values import read_amounts, read_limits, read_times
from scheduler_repo.slots import fitted, read_slot_limits
from scheduler_repo.steps import Steps, chunks_of, chunks_taken_from
from scheduler_repo.types import (
    AccessKey,
    DomainName,
    OwnerT,
    ProjectId,
    ResourcePolicyName,
    SlotLimits,
    SlotVector,
    UserId,
)

# Text and bytes: to hash an OwnerScope or a UUID of the driver takes several times as long.
OwnerKey = tuple[str, object]
# An owner's policy, its limits of slots, sessions and kernels per session; the owner's own of the first two.
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


class Owners(msgspec.Struct, frozen=True):
    """The owners of the queue by id, with what they occupy and may occupy."""

    access_keys: tuple[OwnerUsage[AccessKey], ...]
    users: tuple[OwnerUsage[UserId], ...]
    projects: tuple[OwnerUsage[ProjectId], ...]
    domains: tuple[OwnerUsage[DomainName], ...]


def build_owners(owners: PendingOwners, rows: list[OwnerRow], width: int) -> Steps[Owners]:
    """Build the owners from their rows, one for each in the same order; ``rows`` is empty afterwards."""
    read = _Read(width)
    return Owners(
        (yield from read.usages_of(owners.access_keys, rows)),
        (yield from read.usages_of(owners.users, rows)),
        (yield from read.usages_of(owners.projects, rows)),
        (yield from read.usages_of(owners.domains, rows)),
    )


class _Read:
    """Reads what rows say of owners; amounts and limits that are written alike are read once."""

    def __init__(self, width: int) -> None:
        self._vectors = _OwnerVectors(width)
        self._limits = _Limits(width)

    def usages_of(
        self, owners: Sequence[OwnerT], rows: list[OwnerRow]
    ) -> Steps[tuple[OwnerUsage[OwnerT], ...]]:
        """Build the usages of owners, whose rows are the first ones and are taken out."""
        usages: list[OwnerUsage[OwnerT]] = []
        for some in chunks_of(owners):
            of_some = rows[: len(some)]
            del rows[: len(some)]
            counts, occupied, _, policies, policy_slots, policy_sessions, kernels, slots, sessions = zip(
                *of_some, strict=True
            )
            usages.extend(
                map(
                    OwnerUsage,
                    some,
                    map(self._vectors.__getitem__, occupied),
                    counts,
                    policies,
                    map(self._limits.__getitem__, zip(policy_slots, slots, strict=True)),
                    map(_least, policy_sessions, sessions),
                    kernels,
                )
            )
            yield
        return tuple(usages)


class _OwnerVectors(dict[str, SlotVector]):
    """The vectors that were read so far, by their text."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def __missing__(self, text: str) -> SlotVector:
        vector = self[text] = fitted(read_amounts(text), self._width)
        return vector


class _Limits(dict[tuple[str, str], SlotLimits]):
    """The least of a policy's limits and an owner's own, by the text of both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def __missing__(self, texts: tuple[str, str]) -> SlotLimits:
        policy, own = map(read_limits, texts)
        limits = self[texts] = _least_of(policy, own, self._width)
        return limits


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
