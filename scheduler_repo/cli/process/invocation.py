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
from typing import TYPE_CHECKING, Final, Optional, TypeVar

from scheduler_repo.cli.terminal import say

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

_PATIENCE_SECONDS: Final = 2.0
_CUT_OFF: Final = 1


class Interrupted(BaseException):
    """A signal ended the command. Not an Exception, so that no handler of errors catches it."""

    def __init__(self, number: signal.Signals, aftermath: str = "") -> None:
        cause = "Ctrl-C" if number == signal.SIGINT else number.name
        super().__init__(f"stopped by {cause}{aftermath and '; '}{aftermath}")
        self.exit_code = 128 + number


class Invocation:
    """Passed to every command; runs its asynchronous work so that the first signal cancels it.

    Further signals are ignored: all that is left to do then is to clean up, and that ends by itself. Work that
    is meant to run until a signal is stopped by the first one, and cancelled by the second.
    """

    def __init__(self) -> None:
        self.started: float = perf_counter()
        self.debug = False
        # What an interruption undoes or leaves behind; the command keeps it up to date.
        self.aftermath = ""
        # Where the error goes that ends the command; None for stderr.
        self.report_error: Optional[Callable[[str], object]] = None
        self._received: Optional[signal.Signals] = None
        self._cancel: Optional[Callable[[], object]] = None
        self._stop: Optional[Callable[[], object]] = None

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

    def run_until_stopped(
        self, work: "Callable[[asyncio.Event], Coroutine[object, object, int]]", longest: float
    ) -> int:
        """Run ``work``, whose event the first signal sets; return its exit code.

        It must end within ``longest`` seconds then, or the process is ended with exit code 1: what blocks the
        event loop cannot be asked to end. Raises Interrupted if a second signal cancelled it.
        """
        # A signal may come inside of what starts a thread, where no other can be started.
        told = threading.Event()
        threading.Thread(target=_end_when_told, args=(told, longest), name="end", daemon=True).start()

        async def stoppable() -> int:
            import asyncio

            stop, event_loop = asyncio.Event(), asyncio.get_running_loop()

            def stop_soon() -> None:
                self._stop = None
                told.set()
                event_loop.call_soon_threadsafe(stop.set)

            self._stop = stop_soon
            try:
                code = await work(stop)
            finally:
                self._stop = None
            if stop.is_set():
                # Threads that are left must not hold up the end.
                _end_after(_PATIENCE_SECONDS, code)
            return code

        return self.run(stoppable)

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
                interruption = Interrupted(self._received, self.aftermath)
                _end_after(_PATIENCE_SECONDS, interruption.exit_code, f"error: {interruption}")

    def _on_signal(self, number: int, frame: Optional[FrameType]) -> None:
        if self._stop is not None:
            self._stop()
            return
        if self._received is not None:
            return
        self._received = signal.Signals(number)
        if self._cancel is None:
            raise Interrupted(self._received, self.aftermath)
        self._cancel()


def _end_when_told(told: threading.Event, longest: float) -> None:
    told.wait()
    _end_after(longest, _CUT_OFF, f"error: stopped; what was under way has not ended in {longest:g} s: cut off")


def _end_after(seconds: float, code: int, last_words: str = "") -> None:
    """End the process after so long, if it has not ended by then."""

    def end() -> None:
        # The interpreter's own end would wait for threads.
        if last_words:
            say(last_words, to_stderr=True)
        os._exit(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def find_invoked_command() -> str:
    """Return the words that run this command from any directory, quoted for a shell.

    That is the path it was called by, so that no environment need be activated; else its bare name.
    """
    called = Path(sys.argv[0])
    if called.name == "__main__.py" and sys.executable:
        return f"{shlex.quote(sys.executable)} -m scheduler_repo.cli"
    found = called.absolute() if called.name != sys.argv[0] else Path(shutil.which(sys.argv[0]) or "")
    return shlex.quote(str(found)) if found.is_file() and os.access(found, os.X_OK) else "scheduler-repo"
