"""Announces what writes have changed, after their COMMIT, to the listeners that keep copies in this process."""

import asyncio
import weakref
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Protocol

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.errors import OutcomeUnknown
from scheduler_repo.types import SessionId


class SessionListener(Protocol):
    """An object that keeps copies of sessions, as a cache source does; neither method may raise."""

    async def sessions_changed(self, session_ids: Collection[SessionId]) -> None:
        """Give up the copies of these: a write that changed them was committed and returns next."""

    def sessions_may_have_changed(self, session_ids: Collection[SessionId]) -> None:
        """Give up the copies of these: whether the write was committed is not known yet."""


_listeners: "weakref.WeakKeyDictionary[ExtendedAsyncSAEngine, weakref.WeakSet[SessionListener]]" = (
    weakref.WeakKeyDictionary()
)


def listen(engine: ExtendedAsyncSAEngine, listener: SessionListener) -> None:
    """Tell ``listener`` what is changed through ``engine``, for as long as somebody holds it."""
    _listeners.setdefault(engine, weakref.WeakSet()).add(listener)


def ignore(engine: ExtendedAsyncSAEngine, listener: SessionListener) -> None:
    """Undo ``listen``."""
    if engine in _listeners:
        _listeners[engine].discard(listener)


@asynccontextmanager
async def announce_changes(engine: ExtendedAsyncSAEngine) -> AsyncIterator[set[SessionId]]:
    """Yield a set for the sessions that a write changes, and tell the engine's listeners of them at the end.

    The block is all of the write, its COMMIT included.
    """
    changed: set[SessionId] = set()
    try:
        yield changed
    except BaseException as error:
        # Cancelled, or cut off, at COMMIT: it may stand. After any other error it was rolled back.
        if isinstance(error, OutcomeUnknown) or not isinstance(error, Exception):
            for listener in _find_listeners(engine, changed):
                listener.sessions_may_have_changed(changed)
        raise
    listeners = _find_listeners(engine, changed)
    if listeners:
        try:
            await asyncio.gather(*(listener.sessions_changed(changed) for listener in listeners))
        except asyncio.CancelledError:
            # Some may not have begun to be told.
            for listener in listeners:
                listener.sessions_may_have_changed(changed)
            raise


def _find_listeners(engine: ExtendedAsyncSAEngine, changed: set[SessionId]) -> tuple[SessionListener, ...]:
    return tuple(_listeners.get(engine, ())) if changed else ()
