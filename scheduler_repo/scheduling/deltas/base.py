"""A SchedulingData with its index: what a refresh looks up in it, and what it edits."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import chain, repeat
from operator import attrgetter
from typing import Final, Literal, Optional, Union
from uuid import UUID

from scheduler_repo.entities.scheduling_data import PendingSession, PreemptionCandidate, SchedulingData
from scheduler_repo.scheduling.deltas.queue import SessionQueue
from scheduler_repo.scheduling.deltas.rows import ChangedSessionRow, UsageRow
from scheduler_repo.scheduling.snapshot.owners import OwnerKey, owner_key
from scheduler_repo.scheduling.snapshot.pending import SharedValues
from scheduler_repo.steps import Steps, chunks_of, finish
from scheduler_repo.types import AccessKey, DomainName, OwnerScope

_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND: Final = timedelta(microseconds=1)
SCOPE_WORDS: Final = tuple(scope.value for scope in OwnerScope)
_FEWEST_SHARED: Final = 1_000
_ACCESS_KEY, _USER, _PROJECT, _DOMAIN = SCOPE_WORDS

CandidateKey = tuple[int, int, bytes]

# A UUID's own hash is reckoned in Python, its number's is not.
_BIG_ENDIAN: "Final[repeat[Literal['big']]]" = repeat("big")
_id_number, _id_bytes = attrgetter("session_id.int"), attrgetter("session_id.bytes")
_owner_ids = attrgetter("access_key", "user_id.int", "project_id.int", "domain_name")


def owners_of(
    session: Union[PendingSession, ChangedSessionRow, UsageRow],
) -> tuple[OwnerKey, OwnerKey, OwnerKey, OwnerKey]:
    """Return the keys of the four owners of a session or a usage, in the order of OwnerScope."""
    return (
        (_ACCESS_KEY, session.access_key),
        (_USER, session.user_id.bytes),
        (_PROJECT, session.project_id.bytes),
        (_DOMAIN, session.domain_name),
    )


def count_owners(sessions: Iterable[PendingSession]) -> Counter[OwnerKey]:
    """Count the sessions of each owner."""
    return Counter(chain.from_iterable(map(owners_of, sessions)))


def _ids_of(sessions: Sequence[PendingSession]) -> Iterable[bytes]:
    """Return the bytes of the sessions' ids, without a step in Python for each."""
    if type(sessions[0].session_id) is UUID:
        # Decoded ones reckon their bytes in Python; the driver's have them, and would keep their number too.
        return map(int.to_bytes, map(_id_number, sessions), repeat(16), _BIG_ENDIAN)
    return map(_id_bytes, sessions)


def key_of_text(scope: str, owner_id: str) -> OwnerKey:
    """Return the key of an owner whose id is written as text."""
    return owner_key(scope, UUID(owner_id) if scope in (_USER, _PROJECT) else owner_id)


def owner_of_key(key: OwnerKey) -> object:
    """Return the id of an owner; another object than others have of it."""
    return UUID(bytes=key[1]) if isinstance(key[1], bytes) else key[1]


def text_of_key(key: OwnerKey) -> tuple[str, str]:
    """Return the scope of an owner and its id as text."""
    return key[0], str(owner_of_key(key))


def candidate_key(candidate: PreemptionCandidate, now: datetime) -> CandidateKey:
    """Return where a candidate stands: the least important first, of those the youngest run."""
    since = (min(candidate.running_since, now) - _EPOCH) // _MICROSECOND
    return candidate.priority, -since, candidate.session_id.bytes


class Edits:
    """The changes of an index that lead to the next SchedulingData; nothing is changed before ``advance``."""

    def __init__(self) -> None:
        self.queue: Optional[SessionQueue] = None
        self.gone: list[PendingSession] = []
        self.come: list[PendingSession] = []
        # How many of these sessions each owner has.
        self.owners_gone: Counter[OwnerKey] = Counter()
        self.owners_come: Counter[OwnerKey] = Counter()
        self.candidates_gone: list[PreemptionCandidate] = []
        self.candidates_come: list[PreemptionCandidate] = []


class IndexedBase:
    """The SchedulingData that is held, with an index; each part of that is made when it is first used."""

    def __init__(self, data: SchedulingData) -> None:
        self.data = data
        # Set by a comparison that finds a difference: nothing more is answered from here.
        self.is_wrong = False
        # What sessions that came or changed have alike: each for itself would take twice the memory in time.
        self.shared = SharedValues()

    @property
    def is_indexed(self) -> bool:
        """Whether the parts of the index that take long are there."""
        return "session_counts" in vars(self)

    def index(self) -> Steps[None]:
        """Make the parts of the index that take long, unless they are there; some 1 µs a pending session.

        Raises ValueError where a session is listed twice, which only a forged base has.
        """
        if self.is_indexed:
            return
        sessions: dict[bytes, PendingSession] = {}
        # Many sessions have the same four owners, which are looked at once.
        together: Counter[tuple[AccessKey, int, int, DomainName]] = Counter()
        for chunk in chunks_of(self.data.pending_sessions):
            sessions.update(zip(_ids_of(chunk), chunk, strict=True))
            together.update(map(_owner_ids, chunk))
            yield
        if len(sessions) != len(self.data.pending_sessions):
            raise ValueError("two of its sessions have one id")
        counts: Counter[OwnerKey] = Counter()
        for owners in chunks_of(list(together)):
            for each in owners:
                access_key, user_id, project_id, domain_name = each
                count = together[each]
                counts[_ACCESS_KEY, access_key] += count
                counts[_USER, user_id.to_bytes(16, "big")] += count
                counts[_PROJECT, project_id.to_bytes(16, "big")] += count
                counts[_DOMAIN, domain_name] += count
            yield
        self.sessions, self.session_counts = sessions, counts

    @cached_property
    def queue(self) -> SessionQueue:
        """The pending sessions in chunks."""
        return SessionQueue.cut(self.data.pending_sessions)

    @cached_property
    def sessions(self) -> dict[bytes, PendingSession]:
        """The pending sessions by the bytes of their id."""
        finish(self.index())
        return self.sessions

    @cached_property
    def candidates(self) -> dict[bytes, PreemptionCandidate]:
        """The preemption candidates by the bytes of their id."""
        return {each.session_id.bytes: each for each in self.data.preemption_candidates}

    @cached_property
    def session_counts(self) -> Counter[OwnerKey]:
        """The number of pending sessions of each owner."""
        finish(self.index())
        return self.session_counts

    @property
    def row_count(self) -> int:
        """The number of sessions and agents that are held."""
        data = self.data
        return len(data.pending_sessions) + len(data.preemption_candidates) + len(data.agents)

    @property
    def edge(self) -> Optional[PendingSession]:
        """The last session that was read, if others may wait behind it."""
        limit = self.data.pending_limit
        return None if limit is None or len(self.data.pending_sessions) < limit else self.queue.last()

    @property
    def highest_priority(self) -> Optional[int]:
        """The highest priority of a pending session."""
        pending = self.data.pending_sessions
        return pending[0].priority if pending else None

    @cached_property
    def latest_start(self) -> datetime:
        """The time from which a preemption candidate runs, of the youngest, or one that was."""
        return max((each.running_since for each in self.data.preemption_candidates), default=_EPOCH)

    def advance(self, data: SchedulingData, edits: Edits) -> None:
        """Hold the next SchedulingData; nothing in here can fail once the edits were made for this base."""
        sessions, counts, candidates = self.sessions, self.session_counts, self.candidates
        for session in edits.gone:
            del sessions[session.session_id.bytes]
        for session in edits.come:
            sessions[session.session_id.bytes] = session
        if edits.queue is not None:
            self.queue = edits.queue
        counts.update(edits.owners_come)
        for key, count in edits.owners_gone.items():
            if counts[key] == count:
                del counts[key]
            else:
                counts[key] -= count
        for candidate in edits.candidates_gone:
            del candidates[candidate.session_id.bytes]
        for candidate in edits.candidates_come:
            candidates[candidate.session_id.bytes] = candidate
            self.latest_start = max(self.latest_start, candidate.running_since)
        if len(self.shared) > _FEWEST_SHARED + len(sessions) // 2:
            # Of sessions that have gone, most of it.
            self.shared = SharedValues()
        self.data = data
