"""Pure functions from the raw rows of one snapshot to SchedulingData.

They run with no connection held. Each of the large ones is a generator that stops between chunks of rows, so
that an event loop can turn in between. Rows become structs a column at a time and by position: the loops are
in C, and the columns of each statement stand in the order of the struct's fields.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby, repeat
from operator import itemgetter

import msgspec

from scheduler_repo.entities.scheduling_data import (
    AgentGain,
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
from scheduler_repo.errors import UnknownWord
from scheduler_repo.scheduling.rules.dependencies import find_hopeless
from scheduler_repo.scheduling.rules.feasibility import NO_LOAD, loads_by
from scheduler_repo.scheduling.rules.reservations import reserved_by_agent
from scheduler_repo.scheduling.snapshot.owners import build_usages
from scheduler_repo.scheduling.snapshot.rows import (
    GroupOptionsRow,
    IndexedSlotTypeRow,
    PendingDependencyRow,
    PendingKernelRow,
    PendingSessionRow,
    PreemptionCandidateRow,
    RawSchedulingData,
    ReservedKernelRow,
    SnapshotRow,
    bytes_of,
)
from scheduler_repo.slots import fitted
from scheduler_repo.steps import CHUNK_ROWS, Steps, chunks_of, finish
from scheduler_repo.types import (
    ClusterMode,
    OptionalWordTable,
    OwnerScope,
    PreemptionScope,
    SessionId,
    SessionResult,
    SessionStatus,
    SessionType,
    SlotName,
    SlotVector,
    WordTable,
)

_SESSION_TYPES = WordTable(SessionType)
_CLUSTER_MODES = WordTable(ClusterMode)
_PREEMPTION_SCOPES = OptionalWordTable(PreemptionScope)
_STATUSES = OptionalWordTable(SessionStatus)
_RESULTS = OptionalWordTable(SessionResult)

_WORDS_OF = itemgetter(*map(PendingSessionRow._fields.index, ("session_type", "cluster_mode")))


def build_scheduling_data(raw: RawSchedulingData) -> Steps[SchedulingData]:
    """Transform one snapshot's rows; run it with ``finish`` or, in an event loop, ``finish_in_slices``.

    Cost: one pass over each kind of row.
    """
    slot_types = slot_types_by_index(raw.slot_types)
    width = len(slot_types)
    kernels_of = yield from _kernels_by_session(raw.pending_kernels)
    unreadable: dict[str, UnreadableRow] = {}
    dependencies_of = yield from _dependencies_by_session(raw.pending_dependencies, unreadable)
    pending_sessions = yield from _pending_sessions(
        raw.pending_sessions, kernels_of, dependencies_of, unreadable
    )
    reservations = _reservations(raw.reservations)
    agents = yield from _agents(raw, reservations, width)
    candidates = yield from _candidates(raw.preemption_candidates, width)
    usages = yield from build_usages(raw, width)
    scaling_group = _scaling_group(raw.scaling_group, unreadable)
    return SchedulingData(
        token=build_token(raw.snapshot),
        observed_at=raw.snapshot[0],
        pending_limit=raw.pending_limit,
        scaling_group=scaling_group,
        slot_types=slot_types,
        pending_sessions=pending_sessions,
        agents=agents,
        reservations=reservations,
        preemption_candidates=candidates,
        access_keys=(yield from usages.of(OwnerScope.ACCESS_KEY, raw.owners.access_keys)),
        users=(yield from usages.of(OwnerScope.USER, raw.owners.users)),
        projects=(yield from usages.of(OwnerScope.PROJECT, raw.owners.projects)),
        domains=(yield from usages.of(OwnerScope.DOMAIN, raw.owners.domains)),
        unreadable=tuple(unreadable.values()),
    )


def build_token(row: SnapshotRow) -> SnapshotToken:
    """Build the token of the snapshot that a read was made under."""
    return SnapshotToken(Snapshot(row[1]), DatabaseIdentity(*row[2:6]), None)


def slot_types_by_index(rows: Sequence[IndexedSlotTypeRow]) -> tuple[SlotType, ...]:
    """Slot types at their index; a gap is filled, as the amounts of a slot type that was removed remain."""
    by_index = {row[1]: SlotType(*row) for row in rows}
    width = max(by_index, default=-1) + 1
    return tuple(
        by_index.get(index) or SlotType(SlotName(f"removed slot {index}"), index, 1, "")
        for index in range(width)
    )


def _kernels_by_session(rows: Sequence[PendingKernelRow]) -> Steps[dict[bytes, tuple[PendingKernel, ...]]]:
    kernels: list[PendingKernel] = []
    sessions: list[bytes] = []
    # Requests repeat: those alike share one vector, which saves memory and the collector's time.
    shared: dict[SlotVector, SlotVector] = {}
    for chunk in chunks_of(rows):
        session_ids, kernel_ids, indexes, architectures, requested = zip(*chunk, strict=True)
        sessions.extend(map(bytes_of, session_ids))
        vectors: list[SlotVector] = list(map(tuple, requested))
        shared_vectors = map(shared.setdefault, vectors, vectors)
        kernels.extend(map(PendingKernel, kernel_ids, indexes, architectures, shared_vectors))
        yield
    # Rows of one session stand together, so each session has a run of them.
    ordered = tuple(kernels)
    start = 0
    by_session = {}
    counts = Counter(sessions)
    yield
    for number, (session, count) in enumerate(counts.items()):
        by_session[session] = ordered[start : start + count]
        start += count
        if number % CHUNK_ROWS == 0:
            yield
    return by_session


def _dependencies_by_session(
    rows: Sequence[PendingDependencyRow],
    unreadable: dict[str, UnreadableRow],
) -> Steps[dict[bytes, tuple[SessionDependency, ...]]]:
    by_session: dict[bytes, list[SessionDependency]] = {}
    for chunk in chunks_of(rows):
        for row in chunk:
            by_session.setdefault(row[0].bytes, []).append(_dependency(row, unreadable))
        yield
    return {session: tuple(each) for session, each in _with_hopeless(by_session).items()}


def dependencies_of(
    rows: Sequence[PendingDependencyRow], session_id: SessionId
) -> tuple[SessionDependency, ...]:
    """Build the dependencies of one session from the rows of all that it waits for."""
    return finish(_dependencies_by_session(rows, {})).get(session_id.bytes, ())


def _dependency(row: PendingDependencyRow, unreadable: dict[str, UnreadableRow]) -> SessionDependency:
    _, depends_on, status, result = row
    try:
        return SessionDependency(depends_on, _STATUSES[status], _RESULTS[result])
    except UnknownWord as error:
        _note_unreadable(unreadable, "session", depends_on, error)
        word = status if status not in _STATUSES else result
        return SessionDependency(depends_on, None, None, unknown_word=word)


def _with_hopeless(by_session: dict[bytes, list[SessionDependency]]) -> dict[bytes, list[SessionDependency]]:
    """Mark the dependencies that wait themselves and can never start."""
    links = {
        session: [each.depends_on.bytes for each in dependencies if each.status is SessionStatus.PENDING]
        for session, dependencies in by_session.items()
    }
    if not any(other in by_session for others in links.values() for other in others):
        return by_session
    failed = [
        session
        for session, dependencies in by_session.items()
        if not all(each.can_be_met for each in dependencies)
    ]
    hopeless = find_hopeless(links, failed)
    if not hopeless:
        return by_session
    return {
        session: [
            msgspec.structs.replace(each, is_hopeless=True)
            if each.status is SessionStatus.PENDING and each.depends_on.bytes in hopeless
            else each
            for each in dependencies
        ]
        for session, dependencies in by_session.items()
    }


def _pending_sessions(
    rows: Sequence[PendingSessionRow],
    kernels_of: Mapping[bytes, tuple[PendingKernel, ...]],
    dependencies_of: Mapping[bytes, tuple[SessionDependency, ...]],
    unreadable: dict[str, UnreadableRow],
) -> Steps[tuple[PendingSession, ...]]:
    sessions: list[PendingSession] = []
    for chunk in chunks_of(rows):
        columns = zip(*chunk, strict=True)
        session_ids, *middle, types, modes, created, start, designated, retries, failed = columns
        if not (_SESSION_TYPES.keys() >= set(types) and _CLUSTER_MODES.keys() >= set(modes)):
            readable = _leave_out_unreadable(chunk, unreadable)
            if not readable:
                continue
            columns = zip(*readable, strict=True)
            session_ids, *middle, types, modes, created, start, designated, retries, failed = columns
        keys = list(map(bytes_of, session_ids))
        sessions.extend(
            map(
                PendingSession,
                session_ids,
                *middle,
                map(_SESSION_TYPES.__getitem__, types),
                map(_CLUSTER_MODES.__getitem__, modes),
                created,
                start,
                [tuple(sorted(agents)) if agents else () for agents in designated],
                retries,
                [tuple(agents) if agents else () for agents in failed],
                map(kernels_of.get, keys, repeat(())),
                map(dependencies_of.get, keys, repeat(())),
            )
        )
        yield
    return tuple(sessions)


def _leave_out_unreadable(
    rows: Sequence[PendingSessionRow], unreadable: dict[str, UnreadableRow]
) -> Sequence[PendingSessionRow]:
    """Leave out the sessions with a word that this version does not know."""
    readable = []
    for row in rows:
        session_type, cluster_mode = _WORDS_OF(row)
        try:
            _SESSION_TYPES[session_type], _CLUSTER_MODES[cluster_mode]
        except UnknownWord as error:
            _note_unreadable(unreadable, "session", row[0], error)
        else:
            readable.append(row)
    return readable


def _scaling_group(row: GroupOptionsRow, unreadable: dict[str, UnreadableRow]) -> ScalingGroupInfo:
    name, is_active, timeout, scope, min_runtime = row
    try:
        return ScalingGroupInfo(name, is_active, timeout, _PREEMPTION_SCOPES[scope], min_runtime)
    except UnknownWord as error:
        # Whom it would let be preempted is not known: nobody is.
        _note_unreadable(unreadable, "scaling group", name, error)
        return ScalingGroupInfo(name, is_active, timeout, None, min_runtime)


def _note_unreadable(
    unreadable: dict[str, UnreadableRow], entity: str, entity_id: object, error: UnknownWord
) -> None:
    unreadable.setdefault(f"{entity} {entity_id}", UnreadableRow(entity, str(entity_id), str(error)))


def _reservations(rows: Sequence[ReservedKernelRow]) -> tuple[Reservation, ...]:
    """One for the rows of each session, which stand together."""
    return tuple(
        Reservation(session_id, position, tuple(ReservedKernel(*row[2:4], tuple(row[4])) for row in kernels))
        for (session_id, position), kernels in groupby(rows, itemgetter(0, 1))
    )


def _candidates(rows: Sequence[PreemptionCandidateRow], width: int) -> Steps[tuple[PreemptionCandidate, ...]]:
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
    raw: RawSchedulingData, reservations: tuple[Reservation, ...], width: int
) -> Steps[tuple[SchedulableAgent, ...]]:
    empty = [0] * width
    capacity = {row[0]: empty.copy() for row in raw.agents}
    occupied = {row[0]: empty.copy() for row in raw.agents}
    by_kernels = {row[0]: empty.copy() for row in raw.agents}
    for slot_chunk in chunks_of(raw.agent_slots):
        for agent_id, slot_index, slot_capacity, slot_occupied in slot_chunk:
            capacity[agent_id][slot_index] = slot_capacity
            occupied[agent_id][slot_index] = slot_occupied
        yield
    for occupancy_chunk in chunks_of(raw.agent_occupancy):
        for agent_id, slot_index, amount in occupancy_chunk:
            amounts = by_kernels[agent_id]
            if slot_index >= len(amounts):
                # Kernels can hold amounts of slots beyond the known ones, and none may vanish.
                amounts.extend([0] * (slot_index + 1 - len(amounts)))
            amounts[slot_index] = int(amount)
        yield
    nothing = (0,) * width
    loads = reserved_by_agent(reservations)
    reserved = {agent_id: fitted(load.slots, width) for agent_id, load in loads.items()}
    agents: list[SchedulableAgent] = []
    for chunk in chunks_of(raw.agents):
        agents.extend(
            SchedulableAgent(
                *row,
                tuple(capacity[row[0]]),
                tuple(occupied[row[0]]),
                tuple(by_kernels[row[0]]),
                reserved.get(row[0], nothing),
                loads.get(row[0], NO_LOAD).count,
            )
            for row in chunk
        )
        yield
    return tuple(agents)
