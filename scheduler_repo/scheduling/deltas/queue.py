"""The queue in chunks, so that an edit copies one of them and not all of it.

Sessions are found by bisecting their place in the order, never by hashing ids.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import Final, NoReturn, Optional, Union, overload

from scheduler_repo.entities.scheduling_data import PendingSession

# An edit copies one of them; a queue of 100,000 sessions has 800.
_CHUNK: Final = 128

QueueKey = tuple[int, datetime, bytes]
Chunk = tuple[PendingSession, ...]
_created_at, _id_bytes = attrgetter("created_at"), attrgetter("session_id.bytes")


def queue_key(session: PendingSession) -> QueueKey:
    """Return where a session stands: priority (high first), creation time, id."""
    return -session.priority, session.created_at, session.session_id.bytes


class SessionQueue(Sequence[PendingSession]):
    """An immutable queue in its order, equal to the tuple of its sessions.

    An edited one shares the chunks that are as they were: no edit costs what the queue is long.
    """

    __slots__ = ("_length", "_starts", "chunks")

    chunks: tuple[Chunk, ...]
    _starts: tuple[QueueKey, ...]
    _length: int

    def __init__(self, chunks: Sequence[Chunk], starts: Sequence[QueueKey], length: int) -> None:
        """Made by ``cut`` and ``edited``; no chunk is empty, and ``starts`` are the keys of their first."""
        set_once = super().__setattr__
        set_once("chunks", tuple(chunks))
        set_once("_starts", tuple(starts))
        set_once("_length", length)

    @classmethod
    def cut(cls, sessions: Sequence[PendingSession]) -> "SessionQueue":
        """Cut a queue, in its order, into chunks."""
        chunks = [tuple(sessions[start : start + _CHUNK]) for start in range(0, len(sessions), _CHUNK)]
        return cls(chunks, [queue_key(chunk[0]) for chunk in chunks], len(sessions))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a queue cannot be changed, nor its {name}")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[PendingSession]:
        return chain.from_iterable(self.chunks)

    @overload
    def __getitem__(self, at: int) -> PendingSession: ...
    @overload
    def __getitem__(self, at: slice) -> Chunk: ...
    def __getitem__(self, at: Union[int, slice]) -> Union[PendingSession, Chunk]:
        if isinstance(at, slice):
            start, stop, step = at.indices(self._length)
            return self._part(start, stop) if step == 1 else tuple(self)[at]
        place = at + self._length if at < 0 else at
        if not 0 <= place < self._length:
            raise IndexError(f"there is no session {at} in a queue of {self._length}")
        return self._part(place, place + 1)[0]

    def _part(self, start: int, stop: int) -> Chunk:
        """Return the sessions of some places; costs a step for each chunk before the last of them."""
        part: list[PendingSession] = []
        before = 0
        for chunk in self.chunks:
            if before >= stop:
                break
            if before + len(chunk) > start:
                part += chunk[max(start - before, 0) : stop - before]
            before += len(chunk)
        return tuple(part)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SessionQueue):
            return self.chunks == other.chunks or tuple(self) == tuple(other)
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __reduce__(self) -> tuple[type[Chunk], tuple[Chunk]]:
        # In another process, such as a planner's, there is nothing to share.
        return tuple, (tuple(self),)

    def __repr__(self) -> str:
        return f"<SessionQueue of {self._length} sessions>"

    def last(self) -> Optional[PendingSession]:
        """Return the session at the end, if there is one."""
        return self.chunks[-1][-1] if self.chunks else None

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
        change = sum(len(chunk) - self._length_of(number) for number, chunk in opened.items())
        return self._with(opened, self._length + change)

    def _length_of(self, number: int) -> int:
        return len(self.chunks[number]) if self.chunks else 0

    def _find(self, opened: dict[int, list[PendingSession]], key: QueueKey) -> tuple[list[PendingSession], int]:
        number = max(bisect_right(self._starts, key) - 1, 0)
        chunk = opened.get(number)
        if chunk is None:
            chunk = opened[number] = list(self.chunks[number]) if self.chunks else []
        return chunk, _place_in(chunk, key)

    def _with(self, opened: Mapping[int, list[PendingSession]], length: int) -> "SessionQueue":
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
        return SessionQueue([*chunks, *self.chunks[number:]], [*starts, *self._starts[number:]], length)


def _place_in(chunk: Sequence[PendingSession], key: QueueKey) -> int:
    """Return where in a chunk a session of a key stands, or would: by one attribute after the other, in C."""
    if not chunk or chunk[0].priority != chunk[-1].priority or -chunk[0].priority != key[0]:
        return bisect_left(chunk, key, key=queue_key)
    _, created_at, session_id = key
    start = bisect_left(chunk, created_at, key=_created_at)
    if start == len(chunk) or chunk[start].created_at != created_at:
        return start
    end = bisect_right(chunk, created_at, start, key=_created_at)
    return bisect_left(chunk, session_id, start, end, key=_id_bytes)
