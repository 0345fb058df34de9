"""The memory of a planner for one group, from plan to plan: who waits for what, and what is free.

Within a plan capacity only shrinks and usage only grows. So whoever found no room, or would pass a limit, still
does until an agent gains room or the owner's usage falls; a plan tries only those for whom that happened. The
index and the accounts are left as the plan has changed them: the next one sets what the plan touched, beside
what has changed, to what was read then. So it does not matter which of the placements were written.
"""

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple, Optional

from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulableAgent, SchedulingData
from scheduler_repo.entities.snapshot_changes import SnapshotChanges
from scheduler_repo.scheduling.planner.capacity_index import CapacityIndex
from scheduler_repo.scheduling.planner.lines import (
    Bucket,
    OpenLines,
    RoomLine,
    Waiter,
    WaitingOwner,
    find_breach,
)
from scheduler_repo.scheduling.planner.placer import PlacementAttempt, SessionPlacer
from scheduler_repo.scheduling.planner.waiting_sessions import WaitingSessions
from scheduler_repo.scheduling.rules.feasibility import start_not_reached, unmet_dependency
from scheduler_repo.scheduling.rules.reservations import find_places
from scheduler_repo.types import AgentId, SlotVector

_NO_ROOM: Final = PlacementAttempt(None, [])

_agent_id = attrgetter("agent_id")


class _Placement(NamedTuple):
    waiter: Waiter
    owners: tuple[WaitingOwner, ...]
    kernels: tuple[KernelAllocation, ...]


class PlanMemory:
    """The waiting sessions of one group by what they wait for, beside an index of its capacity.

    ``token`` and ``pending_limit`` say of which answer; ``tried`` counts the sessions that plans have tried.
    Memory: some 900 bytes a pending session.
    """

    def __init__(self, data: SchedulingData) -> None:
        """Begin with a snapshot of which nothing is known; costs some microseconds a pending session.

        Raises InvalidInput if an owner of a session is missing in ``data``.
        """
        self.token = data.token
        self.pending_limit = data.pending_limit
        self.tried = 0
        self._index = CapacityIndex(data)
        self._placer = SessionPlacer(self._index)
        self._waiting = WaitingSessions(data, self._placer)
        self._agents: dict[AgentId, SchedulableAgent] = {agent.agent_id: agent for agent in data.agents}
        # Lines that were opened for this plan as single agents had gained room.
        self._opened: set[RoomLine] = set()
        # What the last plan did, which may not have been written.
        self._placed: list[_Placement] = []
        # The version of the index at which every restless request has failed.
        self._calm_version: Optional[int] = None

    def __len__(self) -> int:
        return len(self._waiting)

    def follow(self, data: SchedulingData, changes: SnapshotChanges) -> bool:
        """Go on to the next snapshot; whether the index was made anew, as another slot is the scarcest now.

        Costs as many steps as there are changes, and one for each distinct request where an agent gained room.
        Of no use any more where it raises: LookupError or InvalidInput where the changes do not fit what is
        remembered, LimitsBegan.
        """
        placed, self._placed = self._placed, []
        charged = {(owner.scope, owner.usage.owner_id) for each in placed for owner in each.owners}
        taken = {kernel.agent_id for each in placed for kernel in each.kernels}
        self._waiting.set_usage(data, charged.union(changes.owners))
        self._index.forget_gainers()
        for agent_id in taken.union(changes.agents):
            self._follow_agent(agent_id, _find_agent(data.agents, agent_id))
        self._follow_sessions(data, changes, placed)
        is_rebuilt = self._index.settle(data.agents)
        self._opened = self._waiting.open_for_gainers(self._index)
        self._waiting.check(data)
        if not len(self._agents) == len(self._index) == len(data.agents):
            raise LookupError(f"after the changes {len(self._agents)} agents are held, {len(data.agents)} read")
        self.token = data.token
        self.pending_limit = data.pending_limit
        return is_rebuilt

    def plan(self, data: SchedulingData, max_allocations: Optional[int]) -> tuple[SessionAllocation, ...]:
        """Place those of the snapshot last followed whose reason to wait may be gone, in their turn."""
        self._waiting.readmit_started(data.observed_at)
        if not data.scaling_group.is_active or max_allocations == 0:
            return ()
        self._place_reserved(data, max_allocations)
        if len(self._placed) != max_allocations:
            self._place_in_turn(data, max_allocations)
        self._waiting.forget_other_requests()
        return tuple(SessionAllocation(each.waiter.session.session_id, each.kernels) for each in self._placed)

    # -- from one snapshot to the next

    def _follow_agent(self, agent_id: AgentId, agent: Optional[SchedulableAgent]) -> None:
        was = self._agents.pop(agent_id, None)
        if was is not None:
            self._index.mix.count_agent(was, -1)
        if agent is not None:
            self._agents[agent_id] = agent
            self._index.mix.count_agent(agent)
        self._index.set_agent(agent_id, agent)

    def _follow_sessions(
        self, data: SchedulingData, changes: SnapshotChanges, placed: Sequence[_Placement]
    ) -> None:
        for session_id in changes.sessions:
            left = self._waiting.leave(session_id)
            if left is not None:
                self._index.mix.count_kernels(left.kernels, -1)
        for each in placed:
            self._waiting.readmit(each.waiter, data.observed_at)
        for session in changes.entered:
            self._index.mix.count_kernels(session.kernels)
            self._waiting.enter(session, data.observed_at)

    # -- one plan

    def _place_reserved(self, data: SchedulingData, max_allocations: Optional[int]) -> None:
        """Place those whose reserved room is free; who has a reserved place waits in no line."""
        places = find_places(data.reservations, self._waiting.find, self._agents)
        self._waiting.set_reserved(places, data.observed_at)
        for place in places.values():
            session = place.session
            if (
                place.obstacle is not None
                or not session.kernels
                or start_not_reached(session.requested_start_at, data.observed_at)
                or unmet_dependency(session.dependencies)
            ):
                continue
            owners = self._waiting.limited_owners(session)
            slots = self._placer.request(session).slots
            if find_breach(owners, slots, len(session.kernels)) is None:
                # The index never counted reserved room as free, so there is nothing to take from it.
                self._note_placed(_Placement(self._waiting.waiter(session), owners, place.kernels), slots)
                if len(self._placed) == max_allocations:
                    return

    def _place_in_turn(self, data: SchedulingData, max_allocations: Optional[int]) -> None:
        if self._waiting.to_try or self._calm_version != self._index.version:
            self._waiting.open_restless()
        turns = OpenLines(self._waiting.to_try)
        self._waiting.to_try.clear()
        self._calm_version = None
        while (turn := turns.pop()) is not None:
            line, bucket = turn
            room = bucket.room
            if room in self._opened and not self._index.fits_gainer(*room.demand):
                # Only an agent that has gained room can have room for it.
                room.request.failed = _NO_ROOM
                if line is room:
                    continue
            waiter = bucket.waiters[0][1]
            kernels = self._try(bucket, waiter, data)
            if kernels is not None:
                self._waiting.withdraw(waiter)
                self._note_placed(_Placement(waiter, bucket.owners, kernels), room.request.slots)
            turns.add(line)
            if len(self._placed) == max_allocations:
                self._waiting.to_try.update(turns)
                return
        if self._calm_version is None:
            self._calm_version = self._index.version

    def _try(
        self, bucket: Bucket, waiter: Waiter, data: SchedulingData
    ) -> Optional[tuple[KernelAllocation, ...]]:
        """Place the first session of a bucket, or let it or the bucket wait for what is missing."""
        self.tried += 1
        start = waiter.session.requested_start_at
        if start is not None and start_not_reached(start, data.observed_at):
            # The clock was put back.
            self._waiting.withdraw(waiter)
            self._waiting.wait_for_start(waiter, start)
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
            among_gainers = room in self._opened
            kernels = self._placer.place_session(session, request, data.agents, among_gainers=among_gainers)
            if kernels is not None:
                return kernels
        if room.is_restless:
            room.failed_version = version
            if self._calm_version is None:
                # Whoever fails later fails at this version if it is the last, else all are tried again.
                self._calm_version = version
        return None

    def _note_placed(self, placement: _Placement, slots: SlotVector) -> None:
        for owner in placement.owners:
            owner.charge(slots)
        self._placed.append(placement)


def _find_agent(agents: Sequence[SchedulableAgent], agent_id: AgentId) -> Optional[SchedulableAgent]:
    at = bisect_left(agents, agent_id, key=_agent_id)
    return agents[at] if at < len(agents) and agents[at].agent_id == agent_id else None
