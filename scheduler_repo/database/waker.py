"""Wakes those that wait for a group to change: in this process at once, in others by a notification.

Writers pay for none of it: what their commits change is told after them, by a task of the engine's, and at most
so often. A notification in their own transactions would make them commit one after the other.
"""

import asyncio
import weakref
from collections.abc import Collection
from typing import Final, Optional
from uuid import uuid4

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.notifications import Listening, send_notifications
from scheduler_repo.errors import EngineClosed
from scheduler_repo.types import ScalingGroupName

# Between two announcements of one process; the first after a pause goes out at once.
ANNOUNCE_SECONDS: Final = 0.05
_LAST_WORDS_SECONDS: Final = 2.0
# Above so many, all groups are named at once.
_MOST_NAMED: Final = 100

_wakers: "weakref.WeakKeyDictionary[ExtendedAsyncSAEngine, ChangeWaker]" = weakref.WeakKeyDictionary()


def note_change(engine: ExtendedAsyncSAEngine, groups: Optional[Collection[ScalingGroupName]]) -> None:
    """Say that a write was committed through ``engine`` after which sessions of these groups may be placed.

    None means any group. Returns at once; without a waker nothing happens.
    """
    waker = _wakers.get(engine)
    if waker is not None:
        waker.note(groups)


class ChangeWaker:
    """The waits of one engine for changes, and the announcements of its own; one for all callers.

    Whatever is announced between two waits for a group ends the second at once, so nothing is missed while a
    tick is under way. Made in an event loop; ``aclose`` ends all waits.
    """

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        self._engine = engine
        self._listening = Listening(engine, self._hear, lambda: self._wake(None))
        # How often all groups were changed, and each that is waited for; and what each wait has seen of it.
        self._changes_of_all = 0
        self._changes: dict[ScalingGroupName, int] = {}
        self._seen: dict[ScalingGroupName, tuple[int, int]] = {}
        self._waiting: dict[ScalingGroupName, set[asyncio.Future[None]]] = {}
        self._to_announce: set[ScalingGroupName] = set()
        self._announces_all = False
        self._announcing: Optional[asyncio.Task[None]] = None
        self._closing = asyncio.Event()
        # So that no process hears its own announcements, of which it has told its waits already.
        self._name = uuid4().hex
        _wakers[engine] = self

    async def wait(self, group: ScalingGroupName, seconds: float) -> bool:
        """Wait until sessions of a group may be placed that could not; False if nothing was heard in time.

        True at once if something was announced since the last wait, or may have been
        because nobody listened. Raises EngineClosed.
        """
        if self._closing.is_set():
            raise _closed()
        self._listening.start()
        self._changes.setdefault(group, 0)
        is_first = group not in self._seen
        if is_first:
            self._see(group)
        if self._has_changed(group) or (is_first and self._listening.is_on):
            self._see(group)
            return True
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(group, set())
        waiting.add(woken)
        try:
            async with asyncio.timeout(seconds):
                await woken
        except TimeoutError:
            return False
        finally:
            waiting.discard(woken)
            if not waiting:
                self._waiting.pop(group, None)
        self._see(group)
        return True

    def note(self, groups: Optional[Collection[ScalingGroupName]]) -> None:
        """Wake the waits of this process, and announce it to others as soon as may be."""
        if self._closing.is_set():
            return
        self._wake(groups)
        if groups is None:
            self._announces_all = True
        else:
            self._to_announce.update(groups)
        if self._announcing is None:
            self._announcing = asyncio.create_task(self._announce())

    async def aclose(self) -> None:
        """End all waits with EngineClosed, announce what was not yet, and stop listening."""
        self._closing.set()
        for woken in [each for waiting in self._waiting.values() for each in waiting]:
            if not woken.done():
                woken.set_exception(_closed())
        await self._listening.aclose()
        announcing = self._announcing
        if announcing is not None:
            await asyncio.wait([announcing], timeout=_LAST_WORDS_SECONDS)
            announcing.cancel()

    async def _announce(self) -> None:
        while self._announces_all or self._to_announce:
            is_all = self._announces_all or len(self._to_announce) > _MOST_NAMED
            groups = [""] if is_all else sorted(self._to_announce)
            self._announces_all, self._to_announce = False, set()
            await send_notifications(self._engine, [f"{self._name}:{group}" for group in groups])
            try:
                async with asyncio.timeout(ANNOUNCE_SECONDS):
                    await self._closing.wait()
            except TimeoutError:
                continue
        self._announcing = None

    def _hear(self, payload: str) -> None:
        """Anybody who may connect can send one: it wakes, and no more."""
        sender, _, group = payload.partition(":")
        if sender != self._name:
            self._wake((ScalingGroupName(group),) if group else None)

    def _wake(self, groups: Optional[Collection[ScalingGroupName]]) -> None:
        if groups is None:
            self._changes_of_all += 1
        for group in tuple(self._waiting) if groups is None else {*groups}.intersection(self._changes):
            if groups is not None:
                self._changes[group] += 1
            for woken in self._waiting.get(group, ()):
                if not woken.done():
                    woken.set_result(None)

    def _has_changed(self, group: ScalingGroupName) -> bool:
        return self._seen[group] != (self._changes_of_all, self._changes[group])

    def _see(self, group: ScalingGroupName) -> None:
        self._seen[group] = self._changes_of_all, self._changes[group]


def _closed() -> EngineClosed:
    return EngineClosed("the repositories were closed while a group was waited for, or before; open them anew")
