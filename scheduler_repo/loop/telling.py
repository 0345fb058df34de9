"""In which calls a dispatcher is told of sessions, and when again of those that failed."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from scheduler_repo.entities.lifecycle import UndispatchedSession
from scheduler_repo.loop.pacing import Backoff
from scheduler_repo.types import SessionId

# As many sessions are told of in one call.
LARGEST_BATCH: Final = 100

_Attempt = tuple[SessionId, int]


class _Failing(NamedTuple):
    failures: int
    due: float


class Tellings:
    """The calls of a dispatcher: new sessions at once, those that failed after a wait, ever fewer a call.

    So one session that the dispatcher cannot tell of holds up the others of its call for a while only.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failing: dict[_Attempt, _Failing] = {}

    def choose(
        self, sessions: Sequence[UndispatchedSession], now: float
    ) -> list[Sequence[UndispatchedSession]]:
        """Put those of all undispatched sessions that are due into calls, those that failed least first."""
        self._failing = {key: self._failing[key] for key in map(_key_of, sessions) if key in self._failing}
        by_failures: dict[int, list[UndispatchedSession]] = {}
        for session in sessions:
            failing = self._failing.get(_key_of(session), _Failing(0, now))
            if failing.due <= now:
                by_failures.setdefault(failing.failures, []).append(session)
        return [
            batch
            for failures, those in sorted(by_failures.items())
            for batch in _in_batches(those, max(1, LARGEST_BATCH >> failures))
        ]

    @property
    def is_failing(self) -> bool:
        """Whether any is to be told of again."""
        return bool(self._failing)

    def note_told(self, sessions: Sequence[UndispatchedSession]) -> None:
        """Note that a call went well."""
        for session in sessions:
            self._failing.pop(_key_of(session), None)
        self._backoff.reset()

    def note_failed(self, sessions: Sequence[UndispatchedSession], now: float) -> None:
        """Note sessions of a call that were not told of."""
        due = now + self._backoff.next_wait()
        for session in sessions:
            key = _key_of(session)
            failures = self._failing[key].failures if key in self._failing else 0
            self._failing[key] = _Failing(failures + 1, due)

    def next_due(self, now: float, longest: float) -> float:
        """How many seconds to wait for the next that is due, ``longest`` at most."""
        return min([longest, *(max(each.due - now, 0.0) for each in self._failing.values())])


def _key_of(session: UndispatchedSession) -> _Attempt:
    return session.session_id, session.retry_count


def _in_batches(sessions: Sequence[UndispatchedSession], size: int) -> Iterator[Sequence[UndispatchedSession]]:
    for start in range(0, len(sessions), size):
        yield sessions[start : start + size]
