"""When a loop that runs does something next: how long it waits, after successes and after failures."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Final, Optional, TypeVar

import msgspec

from scheduler_repo.errors import InvalidSettings
from scheduler_repo.validation import Seconds, WaitSeconds, check_fields

T = TypeVar("T")

# Beyond, a wait is at its bound for certain.
_LARGEST_POWER: Final = 30


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The times of a loop that runs, in seconds.

    It ticks when it is woken, and ``interval`` after the tick before at the latest, but never twice within
    ``shortest_pause``, so that many changes are met by one tick. After failures it waits, from
    ``first_backoff`` twice as long each time up to ``longest_backoff``. A plan may take ``plan_timeout``; what
    is under way when the loop is stopped has ``stop_timeout`` to end.
    """

    interval: WaitSeconds = 10.0
    shortest_pause: WaitSeconds = 0.05
    first_backoff: WaitSeconds = 0.2
    longest_backoff: WaitSeconds = 10.0
    plan_timeout: Seconds = 60.0
    stop_timeout: Seconds = 10.0

    def __post_init__(self) -> None:
        check_fields(self, InvalidSettings)
        for shorter, longer in (("first_backoff", "longest_backoff"), ("shortest_pause", "interval")):
            if getattr(self, shorter) > getattr(self, longer):
                raise InvalidSettings(f"{shorter} is above {longer}; give at most {getattr(self, longer):g}")


class Backoff:
    """The waits after failures in a row: each up to twice as long as the one before, up to a bound."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self.failures = 0

    def next_wait(self) -> float:
        """Count a failure, and choose the seconds until the next try.

        A random part, half of the wait at most, keeps processes that failed together from coming back together.
        """
        wait = min(self._first * 2.0 ** min(self.failures, _LARGEST_POWER), self._longest)
        self.failures += 1
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - it keeps no secret

    def reset(self) -> None:
        """Note a success."""
        self.failures = 0


class Stopping:
    """Waits that end when a loop is to stop."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    @property
    def is_set(self) -> bool:
        """Whether the loop is to stop."""
        return self._stop.is_set()

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until the loop is to stop."""
        await self.give_up(self._stop.wait(), seconds)

    async def give_up(self, work: Coroutine[None, None, T], seconds: Optional[float] = None) -> Optional[T]:
        """Do work that may be cancelled at any time; None if the loop is to stop first, or it is too long."""
        return await self._first(work, 0.0, seconds)

    async def finish(self, work: Coroutine[None, None, T], seconds: float) -> Optional[T]:
        """Do work that has ``seconds`` to end when the loop is to stop; None if it did not."""
        return await self._first(work, seconds, None)

    async def _first(
        self, work: Coroutine[None, None, T], grace: float, seconds: Optional[float]
    ) -> Optional[T]:
        task = asyncio.create_task(work)
        # Where this is cancelled nobody asks what became of it.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([task, stopped], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and grace:
                await asyncio.wait([task], timeout=grace)
        finally:
            # What was begun ends here.
            task.cancel()
            stopped.cancel()
            await asyncio.wait([task, stopped])
        return None if task.cancelled() else task.result()
