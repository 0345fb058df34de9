"""The changes since a snapshot, applied to what was read then: what a full read would give now.

All of it is computed from the base as it is, and the base is advanced at the end, at once.
"""

from bisect import bisect_left
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Optional, Union, cast

import msgspec
from msgspec.structs import replace

from scheduler_repo.entities.scheduling_data import (
    OwnerUsage,
    PendingSession,
    PreemptionCandidate,
    Reservation,
    ScalingGroupInfo,
    SchedulableAgent,
    SchedulingData,
)
from scheduler_repo.entities.snapshot_changes import FullReadReason, OwnerId, SnapshotChanges
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.scheduling.deltas.base import (
    Edits,
    IndexedBase,
    candidate_key,
    count_owners,
    key_of_text,
    owner_of_key,
    owners_of,
)
from scheduler_repo.scheduling.deltas.queue import queue_key
from scheduler_repo.scheduling.deltas.rows import (
    ChangedAgentRow,
    ChangedOwnerRow,
    RawChanges,
    add_amounts,
    amounts_of,
)
from scheduler_repo.scheduling.rules.feasibility import NO_LOAD, Load
from scheduler_repo.scheduling.rules.reservations import reserved_by_agent
from scheduler_repo.scheduling.snapshot.build import (
    build_candidates,
    build_group,
    build_reservations,
    build_token,
)
from scheduler_repo.scheduling.snapshot.owners import LimitColumns, OwnerKey, build_usage, take_columns
from scheduler_repo.scheduling.snapshot.pending import (
    SharedValues,
    build_dependencies,
    build_kernels,
    build_sessions,
)
from scheduler_repo.scheduling.snapshot.rows import PendingKernelRow, PendingSessionRow, PreemptionCandidateRow
from scheduler_repo.slots import fitted
from scheduler_repo.steps import finish
from scheduler_repo.types import AgentId, OwnerScope, OwnerT, SessionId

_SESSION_COLUMNS = len(PendingSessionRow._fields)


class Applied(msgspec.Struct, frozen=True):
    """The next SchedulingData of a base, what differs in it, and the edits of the base's index."""

    data: SchedulingData
    changes: SnapshotChanges
    edits: Edits


def apply_changes(base: IndexedBase, raw: RawChanges) -> Union[Applied, FullReadReason]:
    """Apply the rows of one refresh to a base, which is left as it is until it is advanced by the edits.

    The answer is what a full read of the snapshot of ``raw`` gives; a reason where its rows do not suffice.
    Cost: as many steps as there are changes, whatever waits.
    """
    old = base.data
    unreadable: dict[str, UnreadableRow] = {}
    group = build_group(raw.scaling_group, unreadable)
    pending = _build_pending(raw, base.shared, unreadable)
    if unreadable or old.unreadable:
        return FullReadReason.UNREADABLE
    if group.preemption_scope is not old.scaling_group.preemption_scope:
        return FullReadReason.PREEMPTION_CHANGED
    edits = Edits()
    touched = _edit_queue(base, raw, pending, edits)
    sessions = old.pending_sessions if edits.queue is None else edits.queue
    highest = sessions[0].priority if sessions else None
    candidates, touched_candidates = _candidates(base, raw, group, highest, edits)
    reservations, reservations_differ = _reservations(old, raw)
    agents, touched_agents = _agents(old, raw, reservations, reservations_differ=reservations_differ)
    owners = _Owners(base, raw, edits)
    data = SchedulingData(
        token=build_token(raw.snapshot),
        observed_at=raw.snapshot[0],
        pending_limit=old.pending_limit,
        scaling_group=old.scaling_group if group == old.scaling_group else group,
        slot_types=old.slot_types,
        pending_sessions=sessions,
        agents=agents,
        reservations=reservations,
        preemption_candidates=candidates,
        access_keys=owners.edit(OwnerScope.ACCESS_KEY, old.access_keys),
        users=owners.edit(OwnerScope.USER, old.users),
        projects=owners.edit(OwnerScope.PROJECT, old.projects),
        domains=owners.edit(OwnerScope.DOMAIN, old.domains),
    )
    changes = SnapshotChanges(
        sessions=touched,
        entered=tuple(edits.come),
        agents=touched_agents,
        owners=tuple(owners.touched),
        candidates=touched_candidates,
        reservations=reservations_differ,
        scaling_group=group != old.scaling_group,
    )
    return Applied(data, changes, edits)


def _build_pending(
    raw: RawChanges, shared: SharedValues, unreadable: dict[str, UnreadableRow]
) -> tuple[PendingSession, ...]:
    rows = [row for row in raw.sessions if row.is_pending]
    if not rows:
        return ()
    kernel_rows = [
        PendingKernelRow(row.session_id.bytes, kernel_id, index, architecture, slots)
        for row in rows
        for kernel_id, index, architecture, slots in zip(
            row.kernel_ids, row.indexes, row.architectures, row.slots, strict=True
        )
    ]
    kernels = finish(build_kernels(kernel_rows, shared))
    dependencies = finish(build_dependencies(raw.dependencies, unreadable))
    session_rows = [PendingSessionRow._make(row[:_SESSION_COLUMNS]) for row in rows]
    sessions = finish(take_columns(session_rows, shared))
    return finish(build_sessions(sessions, kernels, dependencies, unreadable))


def _edit_queue(
    base: IndexedBase, raw: RawChanges, pending: Sequence[PendingSession], edits: Edits
) -> tuple[SessionId, ...]:
    """Find who leaves the queue and who enters it, within its limit; return whose entry differs."""
    held, edge = base.sessions, base.edge
    gone: dict[bytes, PendingSession] = {}
    for session_id in raw.session_ids:
        session = held.get(session_id.bytes)
        if session is not None:
            gone[session_id.bytes] = session
    come: dict[bytes, PendingSession] = {}
    behind: list[PendingSession] = []
    last = None if edge is None else queue_key(edge)
    for session in pending:
        key = session.session_id.bytes
        was = held.get(key)
        if was is not None:
            # One that depends on a changed session has not changed itself, and may be as it was.
            if was == session:
                gone.pop(key, None)
                continue
            gone[key] = was
        if last is not None and queue_key(session) > last:
            behind.append(session)
        else:
            come[key] = session
    limit = base.data.pending_limit
    if limit is not None:
        free = limit - (len(held) - len(gone) + len(come))
        if free > 0 and behind:
            behind.sort(key=queue_key)
            come.update((session.session_id.bytes, session) for session in behind[:free])
        elif free < 0:
            _cut(base, gone, come, -free)
    if not gone and not come:
        return ()
    edits.gone, edits.come = list(gone.values()), list(come.values())
    edits.owners_gone, edits.owners_come = count_owners(edits.gone), count_owners(edits.come)
    edits.queue = base.queue.edited(edits.gone, edits.come)
    return tuple(each.session_id for each in {**gone, **come}.values())


def _cut(
    base: IndexedBase, gone: dict[bytes, PendingSession], come: dict[bytes, PendingSession], count: int
) -> None:
    """Remove the last sessions of a queue that has become longer than its limit."""
    ends = base.queue.edited(gone.values(), come.values())[-count:]
    for session in ends:
        key = session.session_id.bytes
        if come.pop(key, None) is None:
            gone[key] = session


def _candidates(
    base: IndexedBase, raw: RawChanges, group: ScalingGroupInfo, highest: Optional[int], edits: Edits
) -> tuple[tuple[PreemptionCandidate, ...], tuple[SessionId, ...]]:
    """Return who may be preempted now, in order, and whose entry differs."""
    old = base.data.preemption_candidates
    if group.preemption_scope is None:
        return old, ()
    held = base.candidates
    width, now = len(base.data.slot_types), raw.snapshot[0]
    come = {
        each.session_id.bytes: each for each in finish(build_candidates(tuple(_candidate_rows(raw)), width))
    }
    if highest is None:
        come.clear()
    else:
        come = {key: each for key, each in come.items() if each.priority < highest}
    gone: dict[bytes, PreemptionCandidate] = {}
    for session_id in raw.session_ids:
        was = held.get(session_id.bytes)
        if was is not None:
            gone[session_id.bytes] = was
    for key in list(come):
        was = held.get(key)
        if was == come[key]:
            del come[key]
            gone.pop(key, None)
        elif was is not None:
            gone[key] = was
    if highest is None or (old and old[-1].priority >= highest):
        gone.update(
            (each.session_id.bytes, each) for each in old if highest is None or each.priority >= highest
        )
    edits.candidates_gone, edits.candidates_come = list(gone.values()), list(come.values())
    touched = tuple(each.session_id for each in {**gone, **come}.values())
    if base.latest_start > min(base.data.observed_at, now):
        # A clock that was ahead, or was put back: where such a session stands depends on the time.
        kept = [each for each in old if each.session_id.bytes not in gone]
        return tuple(sorted((*kept, *come.values()), key=lambda each: candidate_key(each, now))), touched
    if not touched:
        return old, ()
    ordered = list(old)
    for each in gone.values():
        del ordered[bisect_left(ordered, candidate_key(each, now), key=lambda one: candidate_key(one, now))]
    for each in come.values():
        ordered.insert(
            bisect_left(ordered, candidate_key(each, now), key=lambda one: candidate_key(one, now)), each
        )
    return tuple(ordered), touched


def _candidate_rows(raw: RawChanges) -> Iterator[PreemptionCandidateRow]:
    """Return the rows of preemption_candidates.sql: one per occupying kernel, by agent."""
    for row in raw.sessions:
        if row.is_pending:
            continue
        kernels: list[tuple[Optional[AgentId], Optional[str]]] = [*zip(row.agent_ids, row.slots, strict=True)]
        kernels.sort(key=lambda each: each[0] or "")
        for agent_id, slots in kernels or ((None, None),):
            yield PreemptionCandidateRow(
                row.session_id,
                row.access_key,
                row.user_id,
                row.project_id,
                row.domain_name,
                row.priority,
                row.running_since,
                agent_id,
                None if slots is None else amounts_of(slots),
            )


def _reservations(old: SchedulingData, raw: RawChanges) -> tuple[tuple[Reservation, ...], bool]:
    if raw.reservations is None:
        return old.reservations, False
    reservations = build_reservations(raw.reservations)
    if reservations == old.reservations:
        return old.reservations, False
    return reservations, True


def _agents(
    old: SchedulingData, raw: RawChanges, reservations: tuple[Reservation, ...], *, reservations_differ: bool
) -> tuple[tuple[SchedulableAgent, ...], tuple[AgentId, ...]]:
    """Return the agents by id, and whose entry differs; what is reserved on them may have changed alone."""
    loads: Mapping[AgentId, Load] = {}
    others: set[AgentId] = set()
    if raw.agents or reservations_differ:
        loads = reserved_by_agent(reservations)
    if reservations_differ:
        others = {*loads, *reserved_by_agent(old.reservations)}.difference(raw.agent_ids)
    if not raw.agent_ids and not others:
        return old.agents, ()
    agents = list(old.agents)
    width = len(old.slot_types)
    built = {row.agent_id: _agent(row, loads.get(row.agent_id, NO_LOAD), width) for row in raw.agents}
    touched: list[AgentId] = []
    for agent_id in (*raw.agent_ids, *sorted(others)):
        at = bisect_left(agents, agent_id, key=_agent_id)
        was = agents[at] if at < len(agents) and agents[at].agent_id == agent_id else None
        now = built.get(agent_id)
        if agent_id in others and was is not None:
            load = loads.get(agent_id, NO_LOAD)
            now = replace(was, reserved=fitted(load.slots, width), reserved_containers=load.count)
        if was == now:
            continue
        agents[at : at + (was is not None)] = [] if now is None else [now]
        touched.append(agent_id)
    return (tuple(agents), tuple(touched)) if touched else (old.agents, ())


_agent_id = attrgetter("agent_id")


def _agent(row: ChangedAgentRow, reserved: Load, width: int) -> SchedulableAgent:
    capacity, occupied = [0] * width, [0] * width
    for index, has, used in zip(row.slot_indexes, row.capacities, row.occupied, strict=True):
        capacity[index], occupied[index] = has, used
    return SchedulableAgent(
        agent_id=row.agent_id,
        address=row.address,
        architecture=row.architecture,
        container_count=row.container_count,
        max_containers=row.max_containers,
        capacity=tuple(capacity),
        occupied=tuple(occupied),
        reserved=fitted(reserved.slots, width),
        reserved_containers=reserved.count,
    )


class _Owners:
    """The owners of the queue, of whom some came, went, or have another usage or other limits."""

    def __init__(self, base: IndexedBase, raw: RawChanges, edits: Edits) -> None:
        self.touched: list[tuple[OwnerScope, OwnerId]] = []
        self._width = len(base.data.slot_types)
        held = base.session_counts
        self._read = {key_of_text(row.scope, row.owner_id): row for row in raw.owners}
        self._added = _sum_usage(held, raw)
        self._come = {key for key, count in edits.owners_come.items() if key not in held and count}
        self._gone = {
            key for key, count in edits.owners_gone.items() if held[key] + edits.owners_come[key] == count
        }
        self._keys: dict[str, dict[OwnerKey, None]] = {}
        for key in chain(self._come, self._gone, self._read, self._added):
            self._keys.setdefault(key[0], {})[key] = None

    def edit(self, scope: OwnerScope, owners: tuple[OwnerUsage[OwnerT], ...]) -> tuple[OwnerUsage[OwnerT], ...]:
        """Return the owners of one scope by id; the same tuple where none of them differs."""
        keys = self._keys.get(scope.value)
        if keys is None:
            return owners
        edited = list(owners)
        differs = False
        for key in keys:
            owner = cast(OwnerT, self._added[key][0] if key in self._added else owner_of_key(key))
            at = bisect_left(edited, owner, key=_owner_id)
            was = edited[at] if at < len(edited) and edited[at].owner_id == owner else None
            if was is None and key not in self._come:
                continue
            now = None if key in self._gone else self._usage(key, owner, was)
            if was == now:
                continue
            edited[at : at + (was is not None)] = [] if now is None else [now]
            self.touched.append((scope, owner))
            differs = True
        return tuple(edited) if differs else owners

    def _usage(
        self, key: OwnerKey, owner: OwnerT, was: Optional[OwnerUsage[OwnerT]]
    ) -> Optional[OwnerUsage[OwnerT]]:
        row = self._read.get(key)
        if row is not None:
            occupied = [int(amount) for amount in row.occupied]
            return build_usage(owner, occupied, row.session_count, _limits(row), self._width)
        if was is None:
            raise LookupError(f"{owner} came into the queue, and what it occupies was not read")
        if key not in self._added:
            return was
        _, (session_count, *occupied) = self._added[key]
        add_amounts(occupied, was.occupied)
        return replace(
            was, occupied=fitted(occupied, self._width), session_count=was.session_count + session_count
        )


_owner_id = attrgetter("owner_id")


def _sum_usage(held: Container[OwnerKey], raw: RawChanges) -> dict[OwnerKey, tuple[OwnerId, list[int]]]:
    """Add up the signed rows of usage of each owner that is held: the sessions, then each slot."""
    sums: dict[OwnerKey, tuple[OwnerId, list[int]]] = {}
    for row in raw.usage:
        amounts = [row.session_count, *row.slots]
        owner_ids: tuple[OwnerId, ...] = row.access_key, row.user_id, row.project_id, row.domain_name
        for key, owner_id in zip(owners_of(row), owner_ids, strict=True):
            earlier = sums.get(key)
            if earlier is not None:
                add_amounts(earlier[1], amounts)
            elif key in held:
                sums[key] = owner_id, amounts.copy()
    return sums


def _limits(row: ChangedOwnerRow) -> Optional[LimitColumns]:
    if row.own_slot_limits is None:
        return None
    return (
        row.resource_policy,
        row.policy_slot_limits,
        row.policy_max_concurrent_sessions,
        row.policy_max_kernels_per_session,
        row.own_slot_limits,
        row.own_max_concurrent_sessions,
    )
