"""The line of callers before a pool: whoever came first is served first."""

import asyncio

from scheduler_repo.errors import DatabaseTimeout


class Turns:
    """Lets as many callers to the pool as it has connections; the others wait, each for a bounded time.

    The pool's own queue gives a connection that is free again to whoever asks at that moment, and sends a
    caller that was woken for it back to the end.
    """

    def __init__(self, count: int, longest_wait: float) -> None:
        """``count`` callers have a turn at once; a wait longer than ``longest_wait`` (seconds) fails."""
        self._count = count
        self._longest_wait = longest_wait
        self._free = asyncio.Semaphore(count)

    async def take(self) -> None:
        """Wait for a turn, which ``give_back`` ends; raises DatabaseTimeout if none comes in time.

        A caller that is cancelled leaves the line at once. Costs a function call if a turn is free.
        """
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self._longest_wait):
                await self._free.acquire()
        except TimeoutError as error:
            raise DatabaseTimeout(
                f"no connection of the pool became free in {self._longest_wait:g} s, all {self._count} were in "
                "use; enlarge the pool (pool_size), or allow a longer wait (pool_timeout)"
            ) from error

    def give_back(self) -> None:
        """End a turn: the caller that has waited for the longest has the next one."""
        self._free.release()
