"""What goes on after the call that began it."""

import asyncio
import contextvars
from collections.abc import Coroutine


class BackgroundTasks:
    """Tasks that nobody waits for by themselves, each in a context of its own."""

    def __init__(self) -> None:
        """None yet."""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Begin ``work``; it belongs to no call and has no deadline of one."""
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self) -> None:
        """Wait until all have ended."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))
