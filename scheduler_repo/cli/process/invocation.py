"""One run of the command line: what it was told about itself, and how a signal ends it."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from time import perf_counter
from types import FrameType
from typing import Final, Optional, TypeVar

T = TypeVar("T")
_PATIENCE_SECONDS: Final = 2.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal ended the command; no error, so nothing that handles errors may catch it."""

    def __init__(self, number: signal.Signals, aftermath: str = "") -> None:
        """``aftermath`` says what was undone, or what is left."""
        cause = "Ctrl-C" if number == signal.SIGINT else number.name
        super().__init__(f"stopped by {cause}{aftermath and '; '}{aftermath}")
        self.exit_code = 128 + number


class OutputFailed(Exception):
    """Stdout or stderr takes no more; the OSError that says why is the cause.

    Not an OSError itself: those that pass through the database layer are taken for its own.
    """


class Invocation:
    """Carried to every command; runs its asynchronous work so that the first signal cancels it.

    Further signals are ignored: what is left to do then is to clean up, and that ends by itself.
    """

    def __init__(self) -> None:
        self.started: float = perf_counter()
        self.debug = False
        # What an interruption leaves behind or has undone, kept true by the command while it runs.
        self.aftermath = ""
        self._received: Optional[signal.Signals] = None
        self._cancel: Optional[Callable[[], object]] = None

    def watch_signals(self) -> None:
        """Take over Ctrl-C, SIGTERM and SIGHUP, except those that the parent had ignored (as nohup does)."""
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def run(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run ``work`` in an event loop; raises Interrupted, when it has cleaned up, if a signal ended it."""
        # Asynchronous I/O takes long to load, and --help needs none.
        import uvloop

        try:
            return uvloop.run(self._cancellable(work))
        except BaseException:
            if self._received is None:
                raise
            raise Interrupted(self._received, self.aftermath) from None

    async def _cancellable(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        import asyncio

        event_loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is not None:
            cancel = task.cancel
            self._cancel = lambda: event_loop.call_soon_threadsafe(cancel)
        try:
            return await work()
        finally:
            self._cancel = None
            if self._received is not None:
                self._end_soon(Interrupted(self._received, self.aftermath))

    def _end_soon(self, interruption: Interrupted) -> None:
        """See to it that the process ends: a planner's thread that still runs would hold it up for long."""
        timer = threading.Timer(_PATIENCE_SECONDS, _end, (interruption,))
        timer.daemon = True
        timer.start()

    def _on_signal(self, number: int, frame: Optional[FrameType]) -> None:
        if self._received is not None:
            return
        self._received = signal.Signals(number)
        if self._cancel is None:
            raise Interrupted(self._received, self.aftermath)
        self._cancel()


def _end(interruption: Interrupted) -> None:
    # All that had to be cleaned up has been, so nothing is lost with the interpreter's own end.
    print(f"error: {interruption}", file=sys.stderr, flush=True)
    os._exit(interruption.exit_code)
