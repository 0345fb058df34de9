"""The lines in which pending sessions wait for room or for a limit, in the order of the queue.

Sessions that ask alike, for the same owners, are one bucket: what keeps one of them waiting keeps all of them.
A bucket stands in one line, by its first session: in that of its request, or in that of a limit which it would
pass. A line is closed while what it waits for is known to be missing; then nobody in it need be tried.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Optional

from scheduler_repo.entities.obstacles import QuotaBreach, QuotaKind
from scheduler_repo.entities.scheduling_data import AnyOwnerUsage, PendingSession
from scheduler_repo.scheduling.deltas.queue import QueueKey, queue_key
from scheduler_repo.scheduling.planner.placer import SessionRequest
from scheduler_repo.scheduling.rules.feasibility import NodeRequest
from scheduler_repo.scheduling.rules.quota_accounts import OwnerAccount
from scheduler_repo.types import AgentId, OwnerScope, SlotVector

# What is asked of one agent, and of which agents alone, if any are designated.
NodeDemand = tuple[NodeRequest, tuple[AgentId, ...]]


class Waiter:
    """One pending session; ``bucket`` is None while something of its own keeps it waiting."""

    __slots__ = ("bucket", "key", "session")

    def __init__(self, session: PendingSession) -> None:
        """Made in no bucket."""
        self.key = queue_key(session)
        self.session = session
        self.bucket: Optional[Bucket] = None


class Bucket:
    """The sessions with one request and the same limited owners, in the order of the queue."""

    __slots__ = ("line", "owners", "room", "waiters")

    def __init__(self, room: "RoomLine", owners: tuple["WaitingOwner", ...]) -> None:
        """Made without sessions, and in no line."""
        self.room = room
        self.owners = owners
        self.waiters: list[tuple[QueueKey, Waiter]] = []
        self.line: Optional[Line] = None

    def breach(self) -> Optional[tuple["WaitingOwner", QuotaBreach]]:
        """Find a limit that one more of its sessions would pass."""
        return find_breach(self.owners, self.room.request.slots, len(self.waiters[0][1].session.kernels))

    def add(self, waiter: Waiter) -> bool:
        """Add a session at its place; whether it is the first one now."""
        waiter.bucket = self
        is_first = not self.waiters or waiter.key < self.waiters[0][0]
        line = self.line
        if is_first and line is not None:
            line.remove(self)
        insort(self.waiters, (waiter.key, waiter))
        if is_first and line is not None:
            line.add(self)
        return is_first

    def remove(self, waiter: Waiter) -> None:
        """Remove a session; an empty bucket stands in no line."""
        waiter.bucket = None
        line, is_first = self.line, self.waiters[0][1] is waiter
        if is_first and line is not None:
            line.remove(self)
        at = bisect_left(self.waiters, (waiter.key,))
        if self.waiters[at][1] is not waiter:
            raise LookupError(f"session {waiter.session.session_id} is not where it waits")
        del self.waiters[at]
        if is_first and line is not None and self.waiters:
            line.add(self)

    def move(self, line: "Line") -> None:
        """Stand in another line."""
        if self.line is not None:
            self.line.remove(self)
        line.add(self)


class Line:
    """Buckets that wait for the same thing, by the first session of each."""

    def __init__(self) -> None:
        """Made empty."""
        self._buckets: list[tuple[QueueKey, Bucket]] = []

    @property
    def first(self) -> Optional[tuple[QueueKey, Bucket]]:
        """The bucket whose first session is first in the queue, and where that stands."""
        return self._buckets[0] if self._buckets else None

    def is_open(self) -> bool:
        """Whether what the line waits for may be there."""
        raise NotImplementedError

    def add(self, bucket: Bucket) -> None:
        """Add a bucket that has sessions and stands in no line."""
        insort(self._buckets, (bucket.waiters[0][0], bucket))
        bucket.line = self

    def remove(self, bucket: Bucket) -> None:
        """Remove a bucket."""
        at = bisect_left(self._buckets, (bucket.waiters[0][0],))
        if self._buckets[at][1] is not bucket:
            raise LookupError(f"{len(bucket.waiters)} sessions are not in the line in which they wait")
        del self._buckets[at]
        bucket.line = None


class RoomLine(Line):
    """Those with one request, which wait until agents have room for it: closed once it found none.

    ``is_restless``: its kernels differ, so that it may find a place although no agent gained any room. If they
    do not, ``demand`` is what each agent is asked. ``buckets`` are all with this request by their limited
    owners, also those that stand in the line of a limit.
    """

    def __init__(self, request: SessionRequest) -> None:
        """Made open: nothing is known of the request."""
        super().__init__()
        self.request = request
        self.demand: NodeDemand = request.requests[0], request.designated_agent_ids
        self.is_restless = len(set(request.requests)) > 1
        self.buckets: dict[tuple[WaitingOwner, ...], Bucket] = {}
        # The version of the index at which it found no room, if it is restless.
        self.failed_version: Optional[int] = None

    def is_open(self) -> bool:
        return self.request.failed is None


class LimitLine(Line):
    """Those that would pass one limit of an owner by the same amount: closed while they would."""

    def __init__(self, owner: "WaitingOwner", breach: QuotaBreach) -> None:
        """Made closed: the limit is passed."""
        super().__init__()
        self._owner = owner
        self.limit = breach.kind, breach.slot_index, breach.requested

    def is_open(self) -> bool:
        return not self._owner.breaches_still(*self.limit)

    def add(self, bucket: Bucket) -> None:
        super().add(bucket)
        self._owner.lines[self.limit] = self

    def remove(self, bucket: Bucket) -> None:
        super().remove(bucket)
        if self.first is None:
            self._owner.lines.pop(self.limit, None)


class WaitingOwner(OwnerAccount):
    """An owner's account with the lines of those that wait for its limits."""

    def __init__(self, scope: OwnerScope, usage: AnyOwnerUsage) -> None:
        """Begin with the usage as it was read, and with nobody who waits."""
        super().__init__(scope, usage)
        self.lines: dict[tuple[QuotaKind, Optional[int], int], LimitLine] = {}

    def line(self, breach: QuotaBreach) -> LimitLine:
        """Return the line of those that would pass a limit as ``breach`` says."""
        limit = breach.kind, breach.slot_index, breach.requested
        line = self.lines.get(limit)
        if line is None:
            line = self.lines[limit] = LimitLine(self, breach)
        return line


class OpenLines:
    """Open lines by where their first sessions stand in the queue, for a plan that takes one by one."""

    def __init__(self, lines: Iterable[Line]) -> None:
        """Begin with those of some lines that are open and not empty."""
        self._heap: list[tuple[QueueKey, int, Line]] = []
        self._serials = count()
        for line in lines:
            self.add(line)

    def __iter__(self) -> Iterator[Line]:
        return (line for _, _, line in self._heap)

    def add(self, line: Line) -> None:
        """Add a line, unless it is closed or empty."""
        first = line.first
        if first is not None and line.is_open():
            heappush(self._heap, (first[0], next(self._serials), line))

    def pop(self) -> Optional[tuple[Line, Bucket]]:
        """Remove the next line, and return it with its first bucket; None if no line is left."""
        while self._heap:
            key, _, line = heappop(self._heap)
            first = line.first
            # A line may stand here at several turns; the one of its first session holds.
            if first is not None and first[0] == key and line.is_open():
                return line, first[1]
        return None


def find_breach(
    owners: Sequence[WaitingOwner], slots: SlotVector, kernel_count: int
) -> Optional[tuple[WaitingOwner, QuotaBreach]]:
    """Find a limit of these owners that a session would pass."""
    for owner in owners:
        for breach in owner.breaches(slots, kernel_count):
            if breach is not None:
                return owner, breach
    return None
