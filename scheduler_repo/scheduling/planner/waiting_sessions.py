"""The pending sessions of one group by what keeps each of them waiting.

A session waits in a line for room or for a limit; or for its start time; or for what only a change of its own
can bring: dependencies, a reservation, kernels.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime
from heapq import heapify, heappop, heappush
from itertools import count
from operator import attrgetter
from typing import Final, Optional
from uuid import UUID

from scheduler_repo.entities.scheduling_data import AnyOwnerUsage, PendingSession, SchedulingData
from scheduler_repo.entities.snapshot_changes import OwnerId
from scheduler_repo.scheduling.planner.capacity_index import CapacityIndex
from scheduler_repo.scheduling.planner.lines import Bucket, Line, NodeDemand, RoomLine, Waiter, WaitingOwner
from scheduler_repo.scheduling.planner.placer import SessionPlacer, SessionRequest
from scheduler_repo.scheduling.rules.feasibility import start_not_reached, unmet_dependency
from scheduler_repo.scheduling.rules.quota_accounts import missing_owner
from scheduler_repo.types import OwnerScope, SessionId, owner_ids

_FEWEST_STARTS: Final = 1_000

_owner_id = attrgetter("owner_id")
_owner_int = attrgetter("owner_id.int")


class LimitsBegan(Exception):
    """An owner without limits has one now: its sessions were not sorted by its limits."""


class WaitingSessions:
    """Sessions by what they wait for. ``to_try`` are the lines that may have opened since the last plan.

    Nothing here ends a wait: a plan takes sessions from the lines, and closes those for which it finds nothing.
    """

    def __init__(self, data: SchedulingData, placer: SessionPlacer) -> None:
        """Begin with the pending sessions of a snapshot, all lines open.

        Raises InvalidInput if an owner of a session is missing in ``data``.
        """
        self.to_try: set[Line] = set()
        self._placer = placer
        self._waiters: dict[bytes, Waiter] = {}
        self._owners: dict[OwnerScope, dict[object, WaitingOwner]] = {
            scope: {usage.owner_id: WaitingOwner(scope, usage) for usage in data.owners_of(scope)}
            for scope in OwnerScope
        }
        self._rooms: dict[SessionRequest, RoomLine] = {}
        # The same: those which ask all agents alike, by what they ask; and the others.
        self._rooms_alike: dict[NodeDemand, set[RoomLine]] = {}
        self._restless: set[RoomLine] = set()
        self._reserved: set[bytes] = set()
        # By start time; a session that has changed since is left in it until then.
        self._starts: list[tuple[datetime, int, Waiter]] = []
        self._serials = count()
        for session in data.pending_sessions:
            self.enter(session, data.observed_at)

    def __len__(self) -> int:
        return len(self._waiters)

    def find(self, session_id: SessionId) -> Optional[PendingSession]:
        """Return a session, None if it is not pending."""
        waiter = self._waiters.get(session_id.bytes)
        return None if waiter is None else waiter.session

    def waiter(self, session: PendingSession) -> Waiter:
        """Return what stands for a pending session; raises LookupError if there is none."""
        return self._waiters[session.session_id.bytes]

    def limited_owners(self, session: PendingSession) -> tuple[WaitingOwner, ...]:
        """Return those of its owners that have limits; raises InvalidInput if one is not known."""
        limited = []
        for (scope, owners), owner_id in zip(self._owners.items(), owner_ids(session), strict=True):
            owner = owners.get(owner_id)
            if owner is None:
                raise missing_owner(session, scope, owner_id)
            if owner.is_limited:
                limited.append(owner)
        return tuple(limited)

    def check(self, data: SchedulingData) -> None:
        """Raise LookupError if there are not as many sessions and owners as in a snapshot."""
        held = [len(self._waiters), *(len(owners) for owners in self._owners.values())]
        there = [len(data.pending_sessions), *(len(data.owners_of(scope)) for scope in self._owners)]
        if held != there:
            raise LookupError(f"after the changes {held} sessions and owners are held, {there} read")

    # -- what may have changed

    def enter(self, session: PendingSession, now: datetime) -> None:
        """Let one more session wait."""
        waiter = self._waiters[session.session_id.bytes] = Waiter(session)
        self._admit(waiter, now)

    def leave(self, session_id: SessionId) -> Optional[PendingSession]:
        """Forget a session; returns it as it was, None if there was none."""
        waiter = self._waiters.pop(session_id.bytes, None)
        if waiter is None:
            return None
        self.withdraw(waiter)
        return waiter.session

    def readmit(self, waiter: Waiter, now: datetime) -> None:
        """Let a session that was in no line wait again, unless it is another one by now."""
        if self._is_aside(waiter):
            self._admit(waiter, now)

    def readmit_started(self, now: datetime) -> None:
        """Let those wait for something else whose start time is reached."""
        while self._starts and self._starts[0][0] <= now:
            self.readmit(heappop(self._starts)[2], now)

    def set_reserved(self, session_ids: Iterable[SessionId], now: datetime) -> None:
        """Remove those with a reserved place from the lines; those without one any more wait again."""
        reserved = {session_id.bytes for session_id in session_ids}
        left, self._reserved = self._reserved - reserved, reserved
        for key in reserved:
            self.withdraw(self._waiters[key])
        for key in left & self._waiters.keys():
            self.readmit(self._waiters[key], now)

    def set_usage(self, data: SchedulingData, owners: Iterable[tuple[OwnerScope, OwnerId]]) -> None:
        """Set the limits and the usage of owners to those of a snapshot.

        Raises LimitsBegan, after which the lines are of no use.
        """
        for scope, owner_id in owners:
            known = self._owners[scope]
            usage = _find_usage(data.owners_of(scope), owner_id)
            owner = known.get(owner_id)
            if usage is None:
                # Its sessions leave with it.
                known.pop(owner_id, None)
            elif owner is None:
                known[owner_id] = WaitingOwner(scope, usage)
            else:
                was_limited = owner.is_limited
                owner.reset(usage)
                if owner.is_limited and not was_limited:
                    raise LimitsBegan
                # Buckets have it among their owners still.
                owner.is_limited = was_limited
                self.to_try.update(line for line in owner.lines.values() if line.is_open())

    def open_for_gainers(self, index: CapacityIndex) -> set[RoomLine]:
        """Open the closed lines of which one kernel at least fits an agent that gained room; returns them."""
        opened: set[RoomLine] = set()
        if index.gainers:
            for demand, rooms in self._rooms_alike.items():
                if index.fits_gainer(*demand):
                    opened.update(room for room in rooms if not room.is_open())
        for room in opened:
            room.request.failed = None
        self.to_try |= opened
        return opened

    def open_restless(self) -> None:
        """Open the lines of requests whose kernels differ."""
        for room in self._restless:
            room.request.failed = None
        self.to_try |= self._restless

    def forget_other_requests(self) -> None:
        """Drop requests with which nobody waits: of reserved sessions, or of some that were to avoid agents."""
        if len(self._placer.known) != len(self._rooms):
            for request in [*self._placer.known.values()]:
                if request not in self._rooms:
                    self._placer.forget(request)

    # -- into lines, and out of them

    def withdraw(self, waiter: Waiter) -> None:
        """Remove a session from its line, if it is in one."""
        bucket = waiter.bucket
        if bucket is None:
            return
        line = bucket.line
        bucket.remove(waiter)
        if line is not None and line.first is None:
            # Else a group that makes no plans would keep the lines of all that came and went.
            self.to_try.discard(line)
        if not bucket.waiters:
            room = bucket.room
            del room.buckets[bucket.owners]
            if not room.buckets:
                self._remove_room(room)

    def wait_for_start(self, waiter: Waiter, start: datetime) -> None:
        """Let a session that is in no line wait for its start time."""
        if len(self._starts) > 2 * len(self._waiters) + _FEWEST_STARTS:
            self._starts = [each for each in self._starts if self._is_aside(each[2])]
            heapify(self._starts)
        heappush(self._starts, (start, next(self._serials), waiter))

    def _is_aside(self, waiter: Waiter) -> bool:
        return waiter.bucket is None and self._waiters.get(waiter.key[2]) is waiter

    def _admit(self, waiter: Waiter, now: datetime) -> None:
        session = waiter.session
        if not session.kernels or unmet_dependency(session.dependencies) or waiter.key[2] in self._reserved:
            return
        if session.requested_start_at is not None and start_not_reached(session.requested_start_at, now):
            self.wait_for_start(waiter, session.requested_start_at)
            return
        owners = self.limited_owners(session)
        request = self._placer.request(session)
        room = self._rooms.get(request) or self._add_room(request)
        bucket = room.buckets.get(owners)
        if bucket is None:
            bucket = room.buckets[owners] = Bucket(room, owners)
        if bucket.add(waiter):
            line = bucket.line
            if line is None:
                line = room
                room.add(bucket)
            if line.is_open():
                self.to_try.add(line)

    def _add_room(self, request: SessionRequest) -> RoomLine:
        room = self._rooms[request] = RoomLine(request)
        if room.is_restless:
            self._restless.add(room)
        else:
            self._rooms_alike.setdefault(room.demand, set()).add(room)
        return room

    def _remove_room(self, room: RoomLine) -> None:
        del self._rooms[room.request]
        if room.is_restless:
            self._restless.remove(room)
        else:
            alike = self._rooms_alike[room.demand]
            alike.remove(room)
            if not alike:
                del self._rooms_alike[room.demand]
        self._placer.forget(room.request)


def _find_usage(usages: Sequence[AnyOwnerUsage], owner_id: OwnerId) -> Optional[AnyOwnerUsage]:
    # UUIDs compare in Python, which takes long.
    if isinstance(owner_id, UUID):
        at = bisect_left(usages, owner_id.int, key=_owner_int)
    else:
        at = bisect_left(usages, owner_id, key=_owner_id)
    return usages[at] if at < len(usages) and usages[at].owner_id == owner_id else None
