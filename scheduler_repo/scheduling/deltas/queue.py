"""The queue in chunks, so that an edit copies one of them and not all of it.

Sessions are found by bisecting their place in the order, never by hashing ids.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

    def __init__(self, chunks: Sequence[Chunk], starts: Sequence[QueueKey]) -> None:
        """Made by ``cut`` and ``edited``; no chunk is empty, and ``starts`` are the keys of their first."""
        self.chunks = chunks
        self._starts = starts

    @classmethod
    def cut(cls, sessions: Chunk) -> "SessionQueue":
        """Cut a queue, in its order, into chunks."""
        chunks = [sessions[start : start + _CHUNK] for start in range(0, len(sessions), _CHUNK)]
        return cls(chunks, [queue_key(chunk[0]) for chunk in chunks])

    def __iter__(self) -> Iterator[PendingSession]:
        return chain.from_iterable(self.chunks)

    def last(self) -> Optional[PendingSession]:
        """Return the session at the end, if there is one."""
        return self.chunks[-1][-1] if self.chunks else None

    def flat(self) -> Chunk:
        """Return all of it as one tuple; costs some 3 ns a session."""
        flat: list[PendingSession] = []
        for chunk in self.chunks:
            # By the chunk: an iterator over all of them takes four times as long.
            flat += chunk
        return tuple(flat)

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
        return self._with(opened)

    def _find(self, opened: dict[int, list[PendingSession]], key: QueueKey) -> tuple[list[PendingSession], int]:
        number = max(bisect_right(self._starts, key) - 1, 0)
        chunk = opened.get(number)
        if chunk is None:
            chunk = opened[number] = list(self.chunks[number]) if self.chunks else []
        return chunk, bisect_left(chunk, key, key=queue_key)

    def _with(self, opened: Mapping[int, list[PendingSession]]) -> "SessionQueue":
        """Return the queue with edited chunks: those that grew are cut, those that shrank join others."""
        chunks: list[Chunk] = []
        starts: list[QueueKey] = []
        number = 0
        for edited in sorted(opened):
            if edited < number:
                # It has joined one before it.
                continue
            chunks += self.chunks[number:edited]
            starts += self._starts[number:edited]
            number = edited + 1
            together = opened[edited]
            while len(together) < _CHUNK // 2 and number < len(self.chunks):
                together = [*together, *opened.get(number, self.chunks[number])]
                number += 1
            # Into equal parts, none of them small.
            parts = max(len(together) // _CHUNK, 1)
            for part in range(parts):
                cut = tuple(together[len(together) * part // parts : len(together) * (part + 1) // parts])
                if cut:
                    chunks.append(cut)
                    starts.append(queue_key(cut[0]))
        return SessionQueue([*chunks, *self.chunks[number:]], [*starts, *self._starts[number:]])
