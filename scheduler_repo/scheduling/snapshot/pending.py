"""The pending sessions of a snapshot, with their kernels and dependencies.

Rows become structs a column at a time and by position: the loops are in C, and the columns of each statement
stand in the order of the struct's fields. What many sessions have alike is one object for all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, count, repeat
from operator import eq
from typing import Optional

import msgspec

from scheduler_repo.entities.scheduling_data import PendingKernel, PendingSession, SessionDependency
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.errors import UnknownWord
from scheduler_repo.scheduling.rules.dependencies import find_hopeless
from scheduler_repo.scheduling.snapshot.rows import (
    KernelsBySession,
    PendingDependencyRow,
    PendingKernelRow,
    SessionColumns,
    bytes_of,
    note_unreadable,
)
from scheduler_repo.scheduling.snapshot.sent_values import read_amounts
from scheduler_repo.steps import Steps, chunks_of, chunks_taken_from, finish
from scheduler_repo.types import (
    AccessKey,
    Architecture,
    ClusterMode,
    DomainName,
    OptionalWordTable,
    ProjectId,
    SessionId,
    SessionResult,
    SessionStatus,
    SessionType,
    SlotVector,
    UserId,
    WordTable,
)

DependenciesBySession = dict[bytes, tuple[SessionDependency, ...]]

_SESSION_TYPES = WordTable(SessionType)
_CLUSTER_MODES = WordTable(ClusterMode)
_STATUSES = OptionalWordTable(SessionStatus)
_RESULTS = OptionalWordTable(SessionResult)


class _Vectors(dict[str, SlotVector]):
    """The vectors that were read so far, by their text: requests repeat."""

    def __missing__(self, text: str) -> SlotVector:
        vector = self[text] = read_amounts(text)
        return vector


class SharedValues:
    """Values that many sessions have alike, one object each: in one read, or in all refreshes of an answer."""

    def __init__(self) -> None:
        self.access_keys: dict[AccessKey, AccessKey] = {}
        self.users: dict[bytes, UserId] = {}
        self.projects: dict[bytes, ProjectId] = {}
        self.domains: dict[DomainName, DomainName] = {}
        self.vectors = _Vectors()
        self.architectures: dict[Optional[Architecture], Optional[Architecture]] = {}

    def __len__(self) -> int:
        return sum(map(len, vars(self).values()))


def build_kernels(
    rows: list[PendingKernelRow], shared: Optional[SharedValues] = None
) -> Steps[KernelsBySession]:
    """Build the kernels of each session, by the bytes of its id; ``rows`` is empty afterwards."""
    by_session: dict[bytes, tuple[PendingKernel, ...]] = {}
    if shared is None:
        shared = SharedValues()
    for chunk in chunks_taken_from(rows):
        sessions, kernel_ids, indexes, architectures, requested = zip(*chunk, strict=True)
        kernels = tuple(
            map(
                PendingKernel,
                kernel_ids,
                indexes,
                map(shared.architectures.setdefault, architectures, architectures),
                map(shared.vectors.__getitem__, requested),
            )
        )
        first = sessions[0]
        earlier = by_session.get(first, ())
        # Most sessions have one kernel. Rows of one session stand together: the others have a run of them.
        by_session.update(zip(sessions, zip(kernels, strict=True), strict=True))
        for start, end in _runs(sessions):
            by_session[sessions[start]] = kernels[start:end]
        if earlier:  # the last chunk ended within it
            by_session[first] = earlier + by_session[first]
        yield
    return by_session


def _runs(sessions: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield where each session begins and ends that stands there more than once."""
    start = end = 0
    for again in compress(count(1), map(eq, sessions, sessions[1:])):
        if again != end:
            if end:
                yield start, end
            start = again - 1
        end = again + 1
    if end:
        yield start, end


def build_dependencies(
    rows: Sequence[PendingDependencyRow], unreadable: dict[str, UnreadableRow]
) -> Steps[DependenciesBySession]:
    """Build the dependencies of each session that has any, by the bytes of its id."""
    by_session: dict[bytes, list[SessionDependency]] = {}
    for chunk in chunks_of(rows):
        for row in chunk:
            by_session.setdefault(row[0].bytes, []).append(_dependency(row, unreadable))
        yield
    hopeless = yield from _find_hopeless(by_session)
    built: DependenciesBySession = {}
    for sessions in chunks_of(list(by_session)):
        for session in sessions:
            dependencies = by_session[session]
            built[session] = tuple(
                [_marked(each, hopeless) for each in dependencies] if hopeless else dependencies
            )
        yield
    return built


def dependencies_of(
    rows: Sequence[PendingDependencyRow], session_id: SessionId
) -> tuple[SessionDependency, ...]:
    """Build the dependencies of one session from the rows of all that it waits for."""
    return finish(build_dependencies(rows, {})).get(session_id.bytes, ())


def _dependency(row: PendingDependencyRow, unreadable: dict[str, UnreadableRow]) -> SessionDependency:
    _, depends_on, status, result = row
    try:
        return SessionDependency(depends_on, _STATUSES[status], _RESULTS[result])
    except UnknownWord as error:
        note_unreadable(unreadable, "session", depends_on, error)
        word = status if status not in _STATUSES else result
        return SessionDependency(depends_on, None, None, unknown_word=word)


def _find_hopeless(by_session: Mapping[bytes, Sequence[SessionDependency]]) -> Steps[set[bytes]]:
    """Find the sessions that wait themselves and can never start."""
    links: dict[bytes, list[bytes]] = {}
    failed: list[bytes] = []
    for sessions in chunks_of(list(by_session)):
        for session in sessions:
            dependencies = by_session[session]
            links[session] = [
                each.depends_on.bytes for each in dependencies if each.status is SessionStatus.PENDING
            ]
            if not all(each.can_be_met for each in dependencies):
                failed.append(session)
        yield
    if not any(other in links for others in links.values() for other in others):
        return set()
    return (yield from find_hopeless(links, failed))


def _marked(dependency: SessionDependency, hopeless: set[bytes]) -> SessionDependency:
    if dependency.status is not SessionStatus.PENDING or dependency.depends_on.bytes not in hopeless:
        return dependency
    return msgspec.structs.replace(dependency, is_hopeless=True)


def build_sessions(
    sessions: list[SessionColumns],
    kernels: KernelsBySession,
    dependencies: DependenciesBySession,
    unreadable: dict[str, UnreadableRow],
) -> Steps[tuple[PendingSession, ...]]:
    """Build the sessions in their order, but for those with a word that this version does not know.

    ``sessions`` and ``kernels`` are empty afterwards: to free all that is left at once may take long.
    """
    built: list[PendingSession] = []
    sessions.reverse()
    while sessions:
        columns = sessions.pop()
        session_ids, *middle, types, modes, created, start, designated, retries, failed = columns
        if not (_SESSION_TYPES.keys() >= set(types) and _CLUSTER_MODES.keys() >= set(modes)):
            are_readable = _find_readable(session_ids, types, modes, unreadable)
            columns = [tuple(compress(column, are_readable)) for column in columns]
            session_ids, *middle, types, modes, created, start, designated, retries, failed = columns
        keys = list(map(bytes_of, session_ids))
        built.extend(
            map(
                PendingSession,
                session_ids,
                *middle,
                map(_SESSION_TYPES.__getitem__, types),
                map(_CLUSTER_MODES.__getitem__, modes),
                created,
                start,
                [tuple(sorted(agents)) if agents else () for agents in designated]
                if any(designated)
                else repeat(()),
                retries,
                [tuple(agents) if agents else () for agents in failed] if any(failed) else repeat(()),
                map(kernels.pop, keys, repeat(())),
                map(dependencies.get, keys, repeat(())),
            )
        )
        yield
    return tuple(built)


def _find_readable(
    session_ids: Sequence[SessionId],
    types: Sequence[str],
    modes: Sequence[str],
    unreadable: dict[str, UnreadableRow],
) -> list[bool]:
    """Say of each session whether this version knows all of its words, and note those that it does not."""
    are_readable = []
    for session_id, session_type, cluster_mode in zip(session_ids, types, modes, strict=True):
        try:
            _SESSION_TYPES[session_type], _CLUSTER_MODES[cluster_mode]
        except UnknownWord as error:
            note_unreadable(unreadable, "session", session_id, error)
        are_readable.append(session_type in _SESSION_TYPES and cluster_mode in _CLUSTER_MODES)
    return are_readable
