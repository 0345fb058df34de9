"""An engine belongs to the event loop that it was first used in, until it is closed."""

import asyncio
import threading
from typing import Optional

import sqlalchemy as sa

from scheduler_repo.errors import EngineClosed, WrongEventLoop


class Ownership:
    """The event loop that an engine's connections belong to, and whether the engine was closed."""

    def __init__(self) -> None:
        """Begin with no event loop: the first that uses the engine owns it."""
        self.is_closed = False
        self._event_loop: Optional[asyncio.AbstractEventLoop] = None
        # Two threads may be the first at once.
        self._first_use = threading.Lock()

    def claim(self) -> None:
        """Raise EngineClosed, or WrongEventLoop in another event loop than the first that has claimed."""
        if self.is_closed:
            raise EngineClosed(
                "the engine was closed, by dispose() or at the end of its open_repositories() block; use it "
                "before that, or make another"
            )
        running = _find_running_loop()
        if self._event_loop is not running:
            with self._first_use:
                self._event_loop = self._event_loop or running
            self._refuse_other(running)

    def check_event_loop(self) -> None:
        """Raise WrongEventLoop if the running event loop is not the owner, or there is none."""
        running = _find_running_loop()
        if self._event_loop is not None:
            self._refuse_other(running)

    def _refuse_other(self, running: asyncio.AbstractEventLoop) -> None:
        if self._event_loop is not running:
            raise WrongEventLoop(
                "the engine was first used in another event loop, and its connections belong to that one; make "
                "an engine, or open the repositories, in each event loop and thread"
            )

    def end(self, *, closed: bool) -> None:
        """Forget the event loop; the engine is ``closed`` for good, or as new."""
        self.is_closed = closed
        self._event_loop = None


class OwnedPool(sa.AsyncAdaptedQueuePool):
    """A pool that asks its engine's Ownership first, whichever way a caller has come to it."""

    ownership: Optional[Ownership] = None

    def connect(self) -> sa.PoolProxiedConnection:
        if self.ownership is not None:
            self.ownership.claim()
        return super().connect()

    def recreate(self) -> sa.QueuePool:
        made = super().recreate()
        if isinstance(made, OwnedPool):
            made.ownership = self.ownership
        return made


def _find_running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise WrongEventLoop("no event loop is running; use the engine in a coroutine") from error
