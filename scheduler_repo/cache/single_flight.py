"""One piece of work for all who ask for the same at the same time."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Hashable
from typing import Generic, TypeVar

ResultT = TypeVar("ResultT")


class _Flight(Generic[ResultT]):
    """Work in progress, and how many wait for it."""

    __slots__ = ("task", "waiting")

    def __init__(self, task: "asyncio.Task[ResultT]") -> None:
        self.task = task
        self.waiting = 0


class SingleFlight(Generic[ResultT]):
    """Work that is begun once for each key and shared by all who come before its end.

    It runs in a task and a context of its own: it has no deadline of any caller, and a caller that is cancelled
    leaves it to the others. When all were cancelled it is cancelled too.
    """

    def __init__(self) -> None:
        """Nothing is in progress."""
        self._flights: dict[Hashable, _Flight[ResultT]] = {}
        self._tasks: set[asyncio.Task[ResultT]] = set()

    async def run(self, key: Hashable, work: Callable[[], Coroutine[None, None, ResultT]]) -> ResultT:
        """Return the result of the work in progress for ``key``, else of ``work``; raises what that raises.

        Work in another event loop, as of a caller in the wrong thread, cannot be waited for and is not shared.
        """
        flight = self._flights.get(key)
        if flight is None or flight.task.get_loop() is not asyncio.get_running_loop():
            flight = self._flights[key] = self._begin(key, work)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._remove(key, flight)
                flight.task.cancel()

    def detach(self, key: Hashable) -> None:
        """Have the next caller begin anew; who waits already gets what is in progress."""
        self._flights.pop(key, None)

    async def drain(self) -> None:
        """Wait until nothing is in progress."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _begin(self, key: Hashable, work: Callable[[], Coroutine[None, None, ResultT]]) -> "_Flight[ResultT]":
        task = asyncio.create_task(work(), context=contextvars.Context())
        flight = _Flight(task)
        self._tasks.add(task)

        def end(_: "asyncio.Task[ResultT]") -> None:
            self._tasks.discard(task)
            self._remove(key, flight)
            # Who asked may be gone: an error is theirs, and of no concern to the loop.
            if not task.cancelled():
                task.exception()

        task.add_done_callback(end)
        return flight

    def _remove(self, key: Hashable, flight: "_Flight[ResultT]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
