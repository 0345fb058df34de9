"""The queue in chunks, so that an edit copies one of them and not all of it.

Sessions are found by bisecting their place in the order, never by hashing ids.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from typing import Final, Optional

from scheduler_repo.entities.scheduling_data import PendingSession

_CHUNK: Final = 512

QueueKey = tuple[int, datetime, bytes]
Chunk = tuple[PendingSession, ...]


def queue_key(session: PendingSession) -> QueueKey:
    """Return where a session stands: priority (high first), creation time, id."""
    return -session.priority, session.created_at, session.session_id.bytes


class SessionQueue:
    """An immutable queue in its order; an edited one shares the chunks that are as they were."""

    __slots__ = ("_starts", "chunks")

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        """Made by ``cut`` and ``edited``; no chunk is empty."""
        self.chunks = tuple(chunks)
        self._starts = [queue_key(chunk[0]) for chunk in self.chunks]

    @classmethod
    def cut(cls, sessions: Chunk) -> "SessionQueue":
        """Cut a queue, in its order, into chunks."""
        return cls(sessions[start : start + _CHUNK] for start in range(0, len(sessions), _CHUNK))

    def __iter__(self) -> Iterator[PendingSession]:
        return chain.from_iterable(self.chunks)

    def last(self) -> Optional[PendingSession]:
        """Return the session at the end, if there is one."""
        return self.chunks[-1][-1] if self.chunks else None

    def flat(self) -> Chunk:
        """Return all of it as one tuple; costs some 10 ns a session."""
        return tuple(chain.from_iterable(self.chunks))

    def edited(self, gone: Iterable[PendingSession], come: Iterable[PendingSession]) -> "SessionQueue":
        """Return the queue without ``gone``, which stand in it, and with ``come``, which do not.

        Costs two bisections for each, and the chunks that they stand in.
        """
        opened: dict[int, list[PendingSession]] = {}
        for session in gone:
            chunk, at = self._find(opened, queue_key(session))
            if chunk[at].session_id != session.session_id:
                raise LookupError(f"session {session.session_id} is not where the queue has it")
            del chunk[at]
        for session in come:
            chunk, at = self._find(opened, queue_key(session))
            chunk.insert(at, session)
        return SessionQueue(self._joined(opened))

    def _find(self, opened: dict[int, list[PendingSession]], key: QueueKey) -> tuple[list[PendingSession], int]:
        number = max(bisect_right(self._starts, key) - 1, 0)
        chunk = opened.get(number)
        if chunk is None:
            chunk = opened[number] = list(self.chunks[number]) if self.chunks else []
        return chunk, bisect_left(chunk, key, key=queue_key)

    def _joined(self, opened: dict[int, list[PendingSession]]) -> Iterator[Chunk]:
        """Put the chunks together again: those that grew are cut, those that shrank much join the next."""
        waiting: list[PendingSession] = []
        for number in range(max(len(self.chunks), 1)):
            chunk = opened.get(number)
            if chunk is None and not waiting:
                yield from self.chunks[number : number + 1]
                continue
            waiting.extend(self.chunks[number] if chunk is None else chunk)
            while len(waiting) >= 2 * _CHUNK:
                yield tuple(waiting[:_CHUNK])
                del waiting[:_CHUNK]
            if 2 * len(waiting) >= _CHUNK:
                yield tuple(waiting)
                waiting.clear()
        if waiting:
            yield tuple(waiting)
