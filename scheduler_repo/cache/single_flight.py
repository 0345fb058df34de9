"""Work that outlives the call that began it: in the background, or shared by all who ask for the same."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Hashable
from typing import Generic, TypeVar

ResultT = TypeVar("ResultT")


class BackgroundTasks:
    """Tasks in contexts of their own: they belong to no call and have no deadline of one.

    Those of another event loop cannot be waited for: the loop may be closed, and they would never end.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self, work: Coroutine[None, None, ResultT]) -> "asyncio.Task[ResultT]":
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def __bool__(self) -> bool:
        return bool(self._of_this_loop())

    async def drain(self) -> None:
        while tasks := self._of_this_loop():
            await asyncio.wait(tasks)

    async def cancel(self) -> None:
        for task in self._of_this_loop():
            task.cancel()
        await self.drain()

    def _of_this_loop(self) -> "list[asyncio.Task[object]]":
        running = asyncio.get_running_loop()
        return [task for task in tuple(self._tasks) if task.get_loop() is running]


class _Flight(Generic[ResultT]):
    __slots__ = ("task", "waiting")

    def __init__(self, task: "asyncio.Task[ResultT]") -> None:
        self.task = task
        self.waiting = 0

    def can_be_joined(self) -> bool:
        """Whether it is under way in this event loop.

        One that has ended is there until the loop's next turn, which a caller that joined it would not give.
        """
        return not self.task.done() and self.task.get_loop() is asyncio.get_running_loop()


class SingleFlight(Generic[ResultT]):
    """Work that is begun once for each key and shared by all who come before its end.

    A caller that is cancelled leaves it to the others. When all were cancelled it is cancelled too.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[ResultT]] = {}
        self._tasks = BackgroundTasks()

    async def run(self, key: Hashable, work: Callable[[], Coroutine[None, None, ResultT]]) -> ResultT:
        """Return the result of the work in progress for ``key``, else of ``work``; raises what that raises.

        Work in another event loop, as of a caller in the wrong thread, cannot be waited for and is not shared.
        """
        flight = self._flights.get(key)
        if flight is None or not flight.can_be_joined():
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
        """Let the next caller begin anew; callers that wait already get what is in progress."""
        self._flights.pop(key, None)

    async def drain(self) -> None:
        await self._tasks.drain()

    def _begin(self, key: Hashable, work: Callable[[], Coroutine[None, None, ResultT]]) -> "_Flight[ResultT]":
        flight = _Flight(self._tasks.start(work()))

        def end(task: "asyncio.Task[ResultT]") -> None:
            self._remove(key, flight)
            # Its callers may be gone: an error is theirs, and of no concern to the loop.
            if not task.cancelled():
                task.exception()

        flight.task.add_done_callback(end)
        return flight

    def _remove(self, key: Hashable, flight: "_Flight[ResultT]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
