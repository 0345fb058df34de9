"""A thread for calls that may never return: it keeps neither the event loop nor the process from going on."""

import asyncio
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Optional, TypeVar

T = TypeVar("T")

_Job = Callable[[], None]


class DaemonThread:
    """Makes one call after the other, in a thread that begins with the first and ends with this object.

    The threads of ``asyncio.to_thread`` are shared, few, and waited for when the process ends: calls that hang
    there hold up all others, and the exit.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Optional[_Job]] = SimpleQueue()
        self._is_started = False

    def start(self, call: Callable[[], T]) -> "asyncio.Future[T]":
        """Begin a call, after those before it; the future has its result, whoever waits for it or not.

        What ends a thread or a process, such as SystemExit, comes as a RuntimeError.
        """
        if not self._is_started:
            self._is_started = True
            threading.Thread(target=_work, args=(self._jobs,), name=self._name, daemon=True).start()
            weakref.finalize(self, self._jobs.put, None)
        event_loop = asyncio.get_running_loop()
        made: asyncio.Future[T] = event_loop.create_future()
        # Whoever waited may have gone.
        made.add_done_callback(lambda done: done.cancelled() or done.exception())

        def work() -> None:
            settle = _make(call, made)
            # Where the event loop is closed nobody waits.
            with suppress(RuntimeError):
                event_loop.call_soon_threadsafe(settle)

        self._jobs.put(work)
        return made


def _work(jobs: "SimpleQueue[Optional[_Job]]") -> None:
    while (job := jobs.get()) is not None:
        job()
        del job


def _make(call: Callable[[], T], made: "asyncio.Future[T]") -> _Job:
    """Make a call, and return what gives its outcome to whoever waits."""
    try:
        result = call()
    except BaseException as raised:  # noqa: BLE001 - it is raised where the call is waited for
        is_plain = isinstance(raised, Exception) and not isinstance(raised, StopIteration)
        error = raised if is_plain else RuntimeError(f"it raised {type(raised).__name__}: {raised}")
        return lambda: None if made.done() else made.set_exception(error)
    return lambda: None if made.done() else made.set_result(result)
