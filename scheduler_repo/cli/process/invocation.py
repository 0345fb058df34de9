"""One run of the command line: how it was called, and how a signal ends it."""

import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Final, Optional, TypeVar

from scheduler_repo.cli.terminal import say_error

T = TypeVar("T")

_PATIENCE_SECONDS: Final = 2.0


class Interrupted(BaseException):
    """A signal ended the command. Not an Exception, so that no handler of errors catches it."""

    def __init__(self, number: signal.Signals, aftermath: str = "") -> None:
        cause = "Ctrl-C" if number == signal.SIGINT else number.name
        super().__init__(f"stopped by {cause}{aftermath and '; '}{aftermath}")
        self.exit_code = 128 + number


class Invocation:
    """Passed to every command; runs its asynchronous work so that the first signal cancels it.

    Further signals are ignored: all that is left to do then is to clean up, and that ends by itself.
    """

    def __init__(self) -> None:
        self.started: float = perf_counter()
        self.debug = False
        # What an interruption undoes or leaves behind; the command keeps it up to date.
        self.aftermath = ""
        self._received: Optional[signal.Signals] = None
        self._cancel: Optional[Callable[[], object]] = None

    def watch_signals(self) -> None:
        """Handle SIGINT, SIGTERM and SIGHUP from here on, unless the parent had them ignored."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def run(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run ``work`` in an event loop; raises Interrupted, after its clean-up, if a signal ended it."""
        import uvloop

        try:
            return uvloop.run(self._cancellable(work))
        except BaseException:
            if self._received is None:
                raise
            raise Interrupted(self._received, self.aftermath) from None

    async def _cancellable(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        import asyncio

        task = asyncio.current_task()
        if task is not None:
            self._cancel = partial(task.get_loop().call_soon_threadsafe, task.cancel)
        try:
            return await work()
        finally:
            self._cancel = None
            if self._received is not None:
                # A planner's thread that still runs would hold up the end of the process.
                timer = threading.Timer(_PATIENCE_SECONDS, _end, (Interrupted(self._received, self.aftermath),))
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
    # Everything has been cleaned up by now, so the interpreter's own end can be skipped.
    say_error(str(interruption))
    os._exit(interruption.exit_code)


def find_invoked_command() -> str:
    """Return the words that run this command from any directory, quoted for a shell.

    That is the path it was called by, so that no environment need be activated; else its bare name.
    """
    called = Path(sys.argv[0])
    if called.name == "__main__.py" and sys.executable:
        return f"{shlex.quote(sys.executable)} -m scheduler_repo.cli"
    found = called.absolute() if called.name != sys.argv[0] else Path(shutil.which(sys.argv[0]) or "")
    return shlex.quote(str(found)) if found.is_file() and os.access(found, os.X_OK) else "scheduler-repo"
