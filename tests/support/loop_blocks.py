"""For how long work keeps the event loop from everything else, in the processor's time of this thread.

Other processes do not count in it, so that it can be compared within one run on a busy machine.
"""

import asyncio
import gc
from collections.abc import Awaitable
from time import thread_time
from typing import Final

import msgspec

# Shorter ones are the loop's own turns.
_LEAST_SECONDS: Final = 0.0001


class Blocks(msgspec.Struct, frozen=True):
    """The times (s) for which another task could not run."""

    seconds: list[float]

    @property
    def longest(self) -> float:
        """The longest of them."""
        return max(self.seconds, default=0.0)

    @property
    def total(self) -> float:
        """All of them together."""
        return sum(self.seconds)


async def watch_blocks(work: Awaitable[object]) -> Blocks:
    """Run work, without the host's collector, beside a task that wants every turn."""
    gc.collect()
    gc.disable()
    # The loop still holds the last work's answer, and frees it in its next turn.
    await asyncio.sleep(0)
    try:
        task = asyncio.ensure_future(work)
        blocks: list[float] = []
        last = thread_time()
        while not task.done():
            await asyncio.sleep(0)
            now = thread_time()
            if now - last >= _LEAST_SECONDS:
                blocks.append(now - last)
            last = now
        await task
    finally:
        gc.enable()
    return Blocks(blocks)
