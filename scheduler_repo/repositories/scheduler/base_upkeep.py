"""The bases of groups in Redis: where a tracker begins, and when it has them stored anew."""

from contextlib import suppress
from time import monotonic
from typing import Final, Optional, Union

import msgspec

from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import FullReadReason, Refresh
from scheduler_repo.entities.snapshot_token import SnapshotToken
from scheduler_repo.errors import CacheUnavailable
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.catching_up import catch_up_stored
from scheduler_repo.scheduling.deltas.base import IndexedBase
from scheduler_repo.types import ScalingGroupName

# To catch up with so many takes some 100 ms.
DEAR_CHANGES: Final = 1_000
# Shares of a lifetime: when a base of a known age is old, and how often one is looked at or stored.
_HALF: Final = 0.5
_SHARE: Final = 0.1


class _KnownBase(msgspec.Struct):
    """The base in Redis as far as it is known: its token, what has changed since, and when to look again.

    ``may_replace_at`` is the earliest time at which it may be stored anew, on the monotonic clock.
    """

    token: SnapshotToken
    changes: int
    old_at: float
    may_replace_at: float


class Beginning(msgspec.Struct, frozen=True):
    """The base that a tracker begins from, and its first answer."""

    base: IndexedBase
    refresh: Refresh


class BaseUpkeep:
    """Begins from the base of a group in Redis, and has it stored anew once catching up from it is dear.

    That is after a full read, after 1,000 changes, at most ten times in the lifetime of an entry, and at half
    of that; never after every read.
    """

    def __init__(self, cache_source: SchedulerCacheSource) -> None:
        """Keep the bases of a cache source, which is closed by whoever made it."""
        self._cache_source = cache_source
        self._known: dict[ScalingGroupName, _KnownBase] = {}

    async def begin(self, scaling_group: ScalingGroupName) -> Union[Beginning, FullReadReason]:
        """Begin from what is in Redis, brought up to date; else say why everything must be read.

        Nothing that stands there leads to an error: raises those of the database layer alone.
        """
        data = await self._cache_source.find_base(scaling_group)
        if data is None:
            return FullReadReason.FIRST
        base = IndexedBase(data)
        refresh = await catch_up_stored(self._cache_source.db_source, base)
        if isinstance(refresh, FullReadReason):
            self._cache_source.distrust_base(data)
            return refresh
        self._know(scaling_group, data.token, _SHARE)
        return Beginning(base, refresh)

    def note(self, scaling_group: ScalingGroupName, refresh: Refresh) -> None:
        """Count what a tracker's answer says has changed."""
        known = self._known.get(scaling_group)
        if known is None:
            return
        changes = refresh.changes
        if changes is None:
            # Who begins from what is in Redis reads everything too.
            known.changes = DEAR_CHANGES
        else:
            known.changes += len(changes.sessions) + len(changes.agents) + len(changes.candidates)

    async def is_due(self, held: SchedulingData) -> bool:
        """Whether the base of the group that is held is to be stored anew, and no other process has done so.

        Costs one round trip to Redis where it seems to be due, else nothing.
        """
        if not _can_be_followed(held):
            return False
        scaling_group = held.scaling_group.name
        known = self._known.get(scaling_group)
        if known is None:
            return True
        now = monotonic()
        is_dear = known.changes >= DEAR_CHANGES and now >= known.may_replace_at
        if not is_dear and now < known.old_at:
            return False
        token: Optional[SnapshotToken] = None
        with suppress(CacheUnavailable):
            token = await self._cache_source.find_base_token(scaling_group)
        if token is None:
            return True
        if token.is_newer_than(known.token):
            self._know(scaling_group, token, _SHARE)
            return False
        if token == known.token and not is_dear:
            known.old_at = now + self._cache_source.lifetime * _SHARE
            return False
        return True

    def store(self, data: SchedulingData, asked_at: float) -> None:
        """Store a base in the background, unless it is one that cannot be followed.

        One that fails is not tried again before the next is due.
        """
        if not _can_be_followed(data):
            return
        self._know(data.scaling_group.name, data.token, _HALF)
        self._cache_source.store_base(data, asked_at)

    def forget(self, scaling_group: Optional[ScalingGroupName]) -> None:
        """Drop what is known of a group, or of all."""
        if scaling_group is None:
            self._known.clear()
        else:
            self._known.pop(scaling_group, None)

    def forget_others(self, scaling_groups: set[ScalingGroupName]) -> None:
        """Drop what is known of groups that are not among these."""
        for scaling_group in self._known.keys() - scaling_groups:
            del self._known[scaling_group]

    def _know(self, scaling_group: ScalingGroupName, token: SnapshotToken, share: float) -> None:
        """Know a base, and look again after a share of its lifetime."""
        now, lifetime = monotonic(), self._cache_source.lifetime
        self._known[scaling_group] = _KnownBase(token, 0, now + share * lifetime, now + _SHARE * lifetime)


def _can_be_followed(data: SchedulingData) -> bool:
    """Whether what has changed since can be told."""
    return data.token.history is not None and not data.unreadable
