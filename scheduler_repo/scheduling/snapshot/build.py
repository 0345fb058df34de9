"""Pure functions from the raw rows of one snapshot to SchedulingData.

They wait for nothing. Each of the large ones is a generator that stops between chunks of rows, so
that an event loop can turn in between. Rows become structs by position: the columns of each statement stand in
the order of the struct's fields.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Optional

import msgspec

from scheduler_repo.entities.scheduling_data import (
    AgentGain,
    PreemptionCandidate,
    Reservation,
    ReservedKernel,
    ScalingGroupInfo,
    SchedulableAgent,
    SchedulingData,
)
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.entities.snapshot_token import ChangeHistory, DatabaseIdentity, Snapshot, SnapshotToken
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.errors import UnknownWord
from scheduler_repo.scheduling.rules.feasibility import NO_LOAD, loads_by
from scheduler_repo.scheduling.rules.reservations import reserved_by_agent
from scheduler_repo.scheduling.snapshot.owners import Owners, build_owners
from scheduler_repo.scheduling.snapshot.pending import build_dependencies, build_sessions
from scheduler_repo.scheduling.snapshot.rows import (
    GroupOptionsRow,
    IndexedSlotTypeRow,
    KernelsBySession,
    PendingDependencyRow,
    PreemptionCandidateRow,
    ReservedKernelRow,
    SessionColumns,
    SnapshotRow,
    SurroundingRows,
    note_unreadable,
)
from scheduler_repo.slots import fitted
from scheduler_repo.steps import CHUNK_ROWS, Steps, chunks_of
from scheduler_repo.types import (
    OptionalWordTable,
    PreemptionScope,
    SlotName,
)

_PREEMPTION_SCOPES = OptionalWordTable(PreemptionScope)


class Surroundings(msgspec.Struct, frozen=True):
    """All that is around the queue, built."""

    slot_types: tuple[SlotType, ...]
    agents: tuple[SchedulableAgent, ...]
    reservations: tuple[Reservation, ...]
    preemption_candidates: tuple[PreemptionCandidate, ...]
    owners: Owners


class RawSchedulingData(msgspec.Struct, frozen=True):
    """All that one tick needs, of one snapshot: what could be built meanwhile, and the rest as it was read.

    ``row_count`` is how many rows a read's statements returned.
    """

    pending_limit: Optional[int]
    snapshot: SnapshotRow
    scaling_group: GroupOptionsRow
    surroundings: Surroundings
    pending_sessions: list[SessionColumns]
    pending_kernels: KernelsBySession
    pending_dependencies: Sequence[PendingDependencyRow]
    row_count: int = 0


def build_surroundings(rows: SurroundingRows) -> Steps[Surroundings]:
    """Build the agents, what is reserved on them and may be preempted, and the owners of the queue.

    The rows of owners are taken out of ``rows`` on the way: many take a while to be freed. Cost: one pass over
    each kind of row.
    """
    slot_types = slot_types_by_index(rows.slot_types)
    width = len(slot_types)
    reservations = build_reservations(rows.reservations)
    agents = yield from _agents(rows, reservations, width)
    candidates = yield from build_candidates(rows.preemption_candidates, width)
    owners = yield from build_owners(rows.owners, rows.owner_rows, width)
    return Surroundings(slot_types, agents, reservations, candidates, owners)


def build_scheduling_data(raw: RawSchedulingData) -> Steps[SchedulingData]:
    """Build what is left to be built; run it with ``finish`` or, in an event loop, ``finish_in_slices``.

    Pending sessions and kernels are taken out of ``raw`` on the way: to let go of all of them at
    once would stop an event loop. Cost: one pass over the queue.
    """
    unreadable: dict[str, UnreadableRow] = {}
    dependencies = yield from build_dependencies(raw.pending_dependencies, unreadable)
    pending_sessions = yield from build_sessions(
        raw.pending_sessions, raw.pending_kernels, dependencies, unreadable
    )
    around = raw.surroundings
    return SchedulingData(
        token=build_token(raw.snapshot),
        observed_at=raw.snapshot[0],
        pending_limit=raw.pending_limit,
        scaling_group=build_group(raw.scaling_group, unreadable),
        slot_types=around.slot_types,
        pending_sessions=pending_sessions,
        agents=around.agents,
        reservations=around.reservations,
        preemption_candidates=around.preemption_candidates,
        access_keys=around.owners.access_keys,
        users=around.owners.users,
        projects=around.owners.projects,
        domains=around.owners.domains,
        unreadable=tuple(unreadable.values()),
    )


def build_token(row: SnapshotRow) -> SnapshotToken:
    """Build the token of the snapshot that a read was made under."""
    return SnapshotToken(Snapshot(row[1]), DatabaseIdentity(*row[2:6]), _history(row))


def _history(row: SnapshotRow) -> Optional[ChangeHistory]:
    schema_oid, log_oid, timeline, life, triggers = row[6:11]
    if schema_oid is None or log_oid is None or timeline is None or life is None or triggers is None:
        return None
    return ChangeHistory(schema_oid, log_oid, timeline, life, triggers)


def slot_types_by_index(rows: Sequence[IndexedSlotTypeRow]) -> tuple[SlotType, ...]:
    """Slot types at their index; a gap is filled, as the amounts of a slot type that was removed remain."""
    by_index = {row[1]: SlotType(*row) for row in rows}
    width = max(by_index, default=-1) + 1
    return tuple(
        by_index.get(index) or SlotType(SlotName(f"removed slot {index}"), index, 1, "")
        for index in range(width)
    )


def build_group(row: GroupOptionsRow, unreadable: dict[str, UnreadableRow]) -> ScalingGroupInfo:
    """Build the group's options; what cannot be read is noted."""
    name, is_active, timeout, scope, min_runtime = row
    try:
        return ScalingGroupInfo(name, is_active, timeout, _PREEMPTION_SCOPES[scope], min_runtime)
    except UnknownWord as error:
        # Whom it would let be preempted is not known: nobody is.
        note_unreadable(unreadable, "scaling group", name, error)
        return ScalingGroupInfo(name, is_active, timeout, None, min_runtime)


def build_reservations(rows: Sequence[ReservedKernelRow]) -> tuple[Reservation, ...]:
    """Build one reservation for the rows of each session, which stand together."""
    return tuple(
        Reservation(session_id, position, tuple(ReservedKernel(*row[2:4], tuple(row[4])) for row in kernels))
        for (session_id, position), kernels in groupby(rows, itemgetter(0, 1))
    )


def build_candidates(
    rows: Sequence[PreemptionCandidateRow], width: int
) -> Steps[tuple[PreemptionCandidate, ...]]:
    """Build one candidate for the rows of each session, which stand together."""
    candidates: list[PreemptionCandidate] = []
    # Rows of one session stand together here too.
    for number, (_, together) in enumerate(groupby(rows, itemgetter(0))):
        kernels = list(together)
        loads = loads_by((row[7], tuple(row[8] or ())) for row in kernels if row[7] is not None)
        gains = tuple(AgentGain(each, fitted(load.slots, width), load.count) for each, load in loads.items())
        candidates.append(PreemptionCandidate(*kernels[0][:7], gains))
        if number % CHUNK_ROWS == 0:
            yield
    return tuple(candidates)


def _agents(
    rows: SurroundingRows, reservations: tuple[Reservation, ...], width: int
) -> Steps[tuple[SchedulableAgent, ...]]:
    empty = [0] * width
    capacity = {row[0]: empty.copy() for row in rows.agents}
    occupied = {row[0]: empty.copy() for row in rows.agents}
    for slot_chunk in chunks_of(rows.agent_slots):
        for agent_id, slot_index, slot_capacity, slot_occupied in slot_chunk:
            capacity[agent_id][slot_index] = slot_capacity
            occupied[agent_id][slot_index] = slot_occupied
        yield
    nothing = (0,) * width
    loads = reserved_by_agent(reservations)
    reserved = {agent_id: fitted(load.slots, width) for agent_id, load in loads.items()}
    agents: list[SchedulableAgent] = []
    for chunk in chunks_of(rows.agents):
        agents.extend(
            SchedulableAgent(
                *row,
                tuple(capacity[row[0]]),
                tuple(occupied[row[0]]),
                reserved.get(row[0], nothing),
                loads.get(row[0], NO_LOAD).count,
            )
            for row in chunk
        )
        yield
    return tuple(agents)
