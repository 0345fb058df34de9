"""What a planner remembers of one group from plan to plan: who waits for what, and what is free.

Within a plan capacity only shrinks and usage only grows. So whoever found no room, or would pass a limit, still
does until an agent gains room or the owner's usage falls; a plan tries only those for whom that happened. The
index and the accounts are left as the plan has changed them: the next one sets what the plan touched, beside
what has changed, to what was read then. So it does not matter which of the placements were written.
"""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from heapq import heapify, heappop, heappush
from itertools import count
from operator import attrgetter
from typing import Final, Optional
from uuid import UUID

from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.scheduling_data import (
    AnyOwnerUsage,
    PendingSession,
    SchedulableAgent,
    SchedulingData,
)
from scheduler_repo.entities.snapshot_changes import OwnerId, SnapshotChanges
from scheduler_repo.scheduling.deltas.queue import QueueKey
from scheduler_repo.scheduling.planner.capacity_index import CapacityIndex
from scheduler_repo.scheduling.planner.lines import (
    Bucket,
    Line,
    RoomLine,
    Waiter,
    WaitingOwner,
    find_breach,
)
from scheduler_repo.scheduling.planner.placer import PlacementAttempt, SessionPlacer, SessionRequest
from scheduler_repo.scheduling.rules.feasibility import NodeRequest, start_not_reached, unmet_dependency
from scheduler_repo.scheduling.rules.quota_accounts import missing_owner
from scheduler_repo.scheduling.rules.reservations import find_places
from scheduler_repo.types import AgentId, OwnerScope, SessionId, SlotVector, owner_ids

_NO_ROOM: Final = PlacementAttempt(None, [])
_FEWEST_STARTS: Final = 1_000

_NodeRequests = tuple[NodeRequest, tuple[AgentId, ...]]
_Turn = tuple[QueueKey, int, Line]
_agent_id = attrgetter("agent_id")
_owner_id = attrgetter("owner_id")
_owner_int = attrgetter("owner_id.int")


class LimitsBegan(Exception):
    """An owner without limits has one now: its sessions were not sorted by its limits."""


class PlanMemory:
    """The waiting sessions of one group by what they wait for, beside an index of its capacity.

    ``token`` and ``pending_limit`` say of which answer; ``tried`` counts the sessions that plans have tried.
    Memory: some 900 bytes a pending session.
    """

    def __init__(self, data: SchedulingData) -> None:
        """Begin with a snapshot of which nothing is known; costs some microseconds a pending session.

        Raises InvalidInput if an owner of a session is missing in ``data``.
        """
        self._index = CapacityIndex(data)
        self._placer = SessionPlacer(self._index)
        self._agents: dict[AgentId, SchedulableAgent] = {agent.agent_id: agent for agent in data.agents}
        self._owners: dict[OwnerScope, dict[object, WaitingOwner]] = {
            scope: {usage.owner_id: WaitingOwner(scope, usage) for usage in data.owners_of(scope)}
            for scope in OwnerScope
        }
        self._waiters: dict[bytes, Waiter] = {}
        self._rooms: dict[SessionRequest, RoomLine] = {}
        self._buckets: dict[tuple[RoomLine, tuple[WaitingOwner, ...]], Bucket] = {}
        # Those of which all agents are asked the same, by that and the designated agents; and the others.
        self._rooms_alike: dict[_NodeRequests, set[RoomLine]] = {}
        self._restless: set[RoomLine] = set()
        # The version of the index at which every restless request has failed.
        self._calm_version: Optional[int] = None
        # By start time; a session that has changed since is left in it until then.
        self._starts: list[tuple[datetime, int, Waiter]] = []
        self._serials = count()
        self._reserved: set[bytes] = set()
        # What the last plan did, which may not have been written.
        self._placed: list[Waiter] = []
        self._taken: set[AgentId] = set()
        self._charged: set[WaitingOwner] = set()
        # The lines that are open, outside of a plan.
        self._to_try: set[Line] = set()
        self._plans = 0
        self.tried = 0
        self._take_over(data)
        for session in data.pending_sessions:
            waiter = self._waiters[session.session_id.bytes] = Waiter(session)
            self._admit(waiter, data.observed_at)

    def __len__(self) -> int:
        return len(self._waiters)

    def follow(self, data: SchedulingData, changes: SnapshotChanges) -> bool:
        """Go on to the next snapshot; whether the index was made anew, as another slot is the scarcest now.

        Costs as many steps as there are changes, and one for each distinct request where an agent gained room.
        Of no use any more where it raises: LookupError or InvalidInput where the changes do not fit what is
        remembered, LimitsBegan.
        """
        self._index.forget_gainers()
        self._follow_owners(data, changes)
        for agent_id in {*changes.agents, *self._taken}:
            self._follow_agent(agent_id, _find_agent(data.agents, agent_id))
        self._follow_sessions(data, changes)
        is_rebuilt = self._index.settle(data.agents)
        self._open_rooms()
        self._take_over(data)
        self._check(data)
        return is_rebuilt

    def plan(self, data: SchedulingData, max_allocations: Optional[int]) -> tuple[SessionAllocation, ...]:
        """Place those of the snapshot last followed whose reason to wait may be gone, in their turn."""
        allocations: list[SessionAllocation] = []
        self._admit_started(data.observed_at)
        if not data.scaling_group.is_active or max_allocations == 0:
            # Else all that came and went meanwhile would be kept.
            self._to_try = {line for line in self._to_try if line.first is not None}
            return ()
        self._place_reserved(data, allocations, max_allocations)
        if max_allocations is None or len(allocations) < max_allocations:
            self._place_in_turn(data, allocations, max_allocations)
        # Those of reserved sessions, and of those that were to avoid some agents: nobody waits with them.
        if len(self._placer.known) != len(self._rooms):
            for request in [*self._placer.known.values()]:
                if request not in self._rooms:
                    self._placer.forget(request)
        return tuple(allocations)

    # -- from one snapshot to the next

    def _take_over(self, data: SchedulingData) -> None:
        self.token = data.token
        self.pending_limit = data.pending_limit
        self._plans += 1

    def _check(self, data: SchedulingData) -> None:
        """Raise LookupError if what is remembered is not as many as there are."""
        held = [len(self._waiters), len(self._agents), len(self._index)]
        there = [len(data.pending_sessions), len(data.agents), len(data.agents)]
        held += [len(self._owners[scope]) for scope in OwnerScope]
        there += [len(data.owners_of(scope)) for scope in OwnerScope]
        if held != there:
            raise LookupError(f"after the changes {held} are remembered where {there} were read")

    def _follow_owners(self, data: SchedulingData, changes: SnapshotChanges) -> None:
        keys = {*changes.owners, *((owner.scope, owner.usage.owner_id) for owner in self._charged)}
        self._charged.clear()
        for scope, owner_id in keys:
            owners = self._owners[scope]
            usage = _find_usage(data.owners_of(scope), owner_id)
            owner = owners.get(owner_id)
            if usage is None:
                # Its sessions leave with it.
                owners.pop(owner_id, None)
            elif owner is None:
                owners[owner_id] = WaitingOwner(scope, usage)
            else:
                was_limited = owner.is_limited
                owner.reset(usage)
                if owner.is_limited and not was_limited:
                    raise LimitsBegan
                # Buckets have it among their owners still.
                owner.is_limited = was_limited
                self._to_try.update(line for line in owner.lines.values() if line.is_open())

    def _follow_agent(self, agent_id: AgentId, agent: Optional[SchedulableAgent]) -> None:
        was = self._agents.pop(agent_id, None)
        if was is not None:
            self._index.mix.count_agent(was, -1)
        if agent is not None:
            self._agents[agent_id] = agent
            self._index.mix.count_agent(agent)
        self._index.set_agent(agent_id, agent)

    def _follow_sessions(self, data: SchedulingData, changes: SnapshotChanges) -> None:
        mix = self._index.mix
        for session_id in changes.sessions:
            waiter = self._waiters.pop(session_id.bytes, None)
            if waiter is not None:
                mix.count_kernels(waiter.session.kernels, -1)
                self._withdraw(waiter)
        placed, self._placed = self._placed, []
        for waiter in placed:
            if self._waiters.get(waiter.key[2]) is waiter:
                self._admit(waiter, data.observed_at)
        for session in changes.entered:
            mix.count_kernels(session.kernels)
            waiter = self._waiters[session.session_id.bytes] = Waiter(session)
            self._admit(waiter, data.observed_at)

    def _open_rooms(self) -> None:
        """Open the lines of requests of which one at least fits an agent that gained room."""
        self._taken.clear()
        if not self._index.gainers:
            return
        for (node_request, designated), rooms in self._rooms_alike.items():
            if self._index.fits_gainer(node_request, designated):
                for room in rooms:
                    if room.request.failed is not None:
                        room.request.failed = None
                        room.opened_for = self._plans + 1
                        self._to_try.add(room)

    # -- who waits for what

    def _admit(self, waiter: Waiter, now: datetime) -> None:
        """Put a session that is in no bucket into its own, unless something of its own keeps it waiting."""
        session = waiter.session
        if not session.kernels or unmet_dependency(session.dependencies) or waiter.key[2] in self._reserved:
            return
        if session.requested_start_at is not None and start_not_reached(session.requested_start_at, now):
            self._wait_for_start(waiter, session.requested_start_at)
            return
        request = self._placer.request(session)
        room = self._rooms.get(request)
        if room is None:
            room = self._rooms[request] = RoomLine(request)
            if room.is_restless:
                self._restless.add(room)
            else:
                self._rooms_alike.setdefault(_one_of(request), set()).add(room)
        key = room, self._limited_owners(session)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(*key)
            room.bucket_count += 1
        if bucket.add(waiter):
            if bucket.line is None:
                room.add(bucket)
            if bucket.line is not None and bucket.line.is_open():
                self._to_try.add(bucket.line)

    def _withdraw(self, waiter: Waiter) -> None:
        """Take a session out of its bucket, if it is in one."""
        bucket = waiter.bucket
        if bucket is None:
            return
        bucket.remove(waiter)
        if not bucket.waiters:
            room = bucket.room
            del self._buckets[room, bucket.owners]
            room.bucket_count -= 1
            if not room.bucket_count:
                del self._rooms[room.request]
                if room.is_restless:
                    self._restless.remove(room)
                else:
                    alike = self._rooms_alike[_one_of(room.request)]
                    alike.remove(room)
                    if not alike:
                        del self._rooms_alike[_one_of(room.request)]
                self._placer.forget(room.request)

    def _limited_owners(self, session: PendingSession) -> tuple[WaitingOwner, ...]:
        limited = []
        for (scope, owners), owner_id in zip(self._owners.items(), owner_ids(session), strict=True):
            owner = owners.get(owner_id)
            if owner is None:
                raise missing_owner(session, scope, owner_id)
            if owner.is_limited:
                limited.append(owner)
        return tuple(limited)

    def _wait_for_start(self, waiter: Waiter, start: datetime) -> None:
        if len(self._starts) > 2 * len(self._waiters) + _FEWEST_STARTS:
            self._starts = [each for each in self._starts if self._is_held(each[2])]
            heapify(self._starts)
        heappush(self._starts, (start, next(self._serials), waiter))

    def _admit_started(self, now: datetime) -> None:
        while self._starts and self._starts[0][0] <= now:
            waiter = heappop(self._starts)[2]
            if self._is_held(waiter):
                self._admit(waiter, now)

    def _is_held(self, waiter: Waiter) -> bool:
        return waiter.bucket is None and self._waiters.get(waiter.key[2]) is waiter

    # -- one plan

    def _place_reserved(
        self, data: SchedulingData, allocations: list[SessionAllocation], max_allocations: Optional[int]
    ) -> None:
        """Place those whose reserved room is free; who has a reserved place waits in no line."""
        if not data.reservations and not self._reserved:
            return
        places = find_places(data.reservations, self._find_session, self._agents)
        reserved = {session_id.bytes for session_id in places}
        left, self._reserved = self._reserved - reserved, reserved
        for key in reserved:
            self._withdraw(self._waiters[key])
        for key in left:
            waiter = self._waiters.get(key)
            if waiter is not None and waiter.bucket is None:
                self._admit(waiter, data.observed_at)
        for place in places.values():
            session, waiter = place.session, self._waiters[place.session.session_id.bytes]
            if (
                place.obstacle is not None
                or not session.kernels
                or start_not_reached(session.requested_start_at, data.observed_at)
                or unmet_dependency(session.dependencies)
            ):
                continue
            owners = self._limited_owners(session)
            slots = self._placer.request(session).slots
            if find_breach(owners, slots, len(session.kernels)) is None:
                # The index never counted reserved room as free, so there is nothing to take from it.
                self._note_placed(waiter, owners, slots, place.kernels, allocations)
                if len(allocations) == max_allocations:
                    return

    def _find_session(self, session_id: SessionId) -> Optional[PendingSession]:
        waiter = self._waiters.get(session_id.bytes)
        return None if waiter is None else waiter.session

    def _place_in_turn(
        self, data: SchedulingData, allocations: list[SessionAllocation], max_allocations: Optional[int]
    ) -> None:
        if self._to_try or self._calm_version != self._index.version:
            for room in self._restless:
                room.request.failed = None
                self._to_try.add(room)
        # A line may stand here at several turns; the one of its first session holds.
        turns: list[_Turn] = []
        for line in self._to_try:
            self._queue_up(line, turns)
        self._to_try.clear()
        self._calm_version = None
        fits_gainer = self._index.fits_gainer
        while turns:
            key, _, line = heappop(turns)
            first = line.first
            if first is None or first[0] != key or not line.is_open():
                continue
            bucket = first[1]
            request = bucket.room.request
            if bucket.room.opened_for == self._plans and not fits_gainer(*_one_of(request)):
                # Only an agent that has gained room can have room for it.
                request.failed = _NO_ROOM
                if line is bucket.room:
                    continue
            waiter, owners, slots = bucket.waiters[0][1], bucket.owners, request.slots
            kernels = self._try(bucket, waiter, data)
            if kernels is not None:
                self._taken.update(kernel.agent_id for kernel in kernels)
                self._withdraw(waiter)
                self._note_placed(waiter, owners, slots, kernels, allocations)
            self._queue_up(line, turns)
            if len(allocations) == max_allocations:
                self._to_try.update(line for _, _, line in turns)
                return
        if self._calm_version is None:
            self._calm_version = self._index.version

    def _queue_up(self, line: Line, turns: list[_Turn]) -> None:
        first = line.first
        if first is not None and line.is_open():
            heappush(turns, (first[0], next(self._serials), line))

    def _try(
        self, bucket: Bucket, waiter: Waiter, data: SchedulingData
    ) -> Optional[tuple[KernelAllocation, ...]]:
        """Place the first session of a bucket, or let it or the bucket wait for what is missing."""
        self.tried += 1
        start = waiter.session.requested_start_at
        if start is not None and start_not_reached(start, data.observed_at):
            # The clock was put back.
            self._withdraw(waiter)
            self._wait_for_start(waiter, start)
            return None
        room = bucket.room
        if room.is_open():
            breach = bucket.breach()
            if breach is not None:
                owner, passed = breach
                bucket.move(owner.line(passed))
                return None
            kernels = self._place(room, waiter.session, data)
            if kernels is not None:
                return kernels
        if bucket.line is not room:
            bucket.move(room)
        return None

    def _place(
        self, room: RoomLine, session: PendingSession, data: SchedulingData
    ) -> Optional[tuple[KernelAllocation, ...]]:
        request, version = room.request, self._index.version
        if room.is_restless and room.failed_version == version:
            request.failed = _NO_ROOM
        else:
            among_gainers = room.opened_for == self._plans
            kernels = self._placer.place_session(session, request, data.agents, among_gainers=among_gainers)
            if kernels is not None:
                return kernels
        if room.is_restless:
            room.failed_version = version
            if self._calm_version is None:
                # Whoever fails later fails at this version if it is the last, else all are tried again.
                self._calm_version = version
        return None

    def _note_placed(
        self,
        waiter: Waiter,
        owners: Sequence[WaitingOwner],
        slots: SlotVector,
        kernels: tuple[KernelAllocation, ...],
        allocations: list[SessionAllocation],
    ) -> None:
        for owner in owners:
            owner.charge(slots)
        self._charged.update(owners)
        self._placed.append(waiter)
        allocations.append(SessionAllocation(waiter.session.session_id, kernels))


def _one_of(request: SessionRequest) -> _NodeRequests:
    """Return what each agent is asked, of a request that asks all the same."""
    return request.requests[0], request.designated_agent_ids


def _find_agent(agents: Sequence[SchedulableAgent], agent_id: AgentId) -> Optional[SchedulableAgent]:
    at = bisect_left(agents, agent_id, key=_agent_id)
    return agents[at] if at < len(agents) and agents[at].agent_id == agent_id else None


def _find_usage(usages: Sequence[AnyOwnerUsage], owner_id: OwnerId) -> Optional[AnyOwnerUsage]:
    # UUIDs compare in Python, which takes long.
    if isinstance(owner_id, UUID):
        at = bisect_left(usages, owner_id.int, key=_owner_int)
    else:
        at = bisect_left(usages, owner_id, key=_owner_id)
    return usages[at] if at < len(usages) and usages[at].owner_id == owner_id else None
