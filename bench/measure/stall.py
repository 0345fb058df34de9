"""For how long the event loop could do nothing else, seen from inside it."""

import asyncio
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median, quantiles
from time import perf_counter
from typing import Final

import msgspec

# Shorter ones delay nobody.
LEAST_SECONDS: Final = 0.0001
_BOUNDS_MS: Final = (1, 5, 10, 50, 100)


class Block(msgspec.Struct, frozen=True):
    """One time for which the loop turned to nobody, in seconds, the collector's part of it, and its end.

    ``clock_seconds`` is what the clock of the watch's own choice says of it.
    """

    seconds: float
    collector_seconds: float
    ended_at: float
    clock_seconds: float

    @property
    def own_seconds(self) -> float:
        """The part that the collector did not take."""
        return self.seconds - self.collector_seconds


class LoopWatch:
    """Runs a callback in every turn of the running loop; whatever lies between two of them blocks the loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Made by ``watched_loop``."""
        self._clock = clock
        self._last_clock = clock()
        self._loop = asyncio.get_running_loop()
        self.blocks: list[Block] = []
        self.last_turn = perf_counter()
        self._collecting_since = self._collector_seconds = 0.0
        self._is_over = False

    def turn(self) -> None:
        """Note the time since the last turn, and come again in the next one."""
        # What is blocked after the end, as by the freeing of an answer, is none of the work's.
        if self._is_over:
            return
        self._note()
        self._loop.call_soon(self.turn)

    def _note(self) -> None:
        now, clock = perf_counter(), self._clock()
        if now - self.last_turn >= LEAST_SECONDS:
            block = Block(now - self.last_turn, self._collector_seconds, now, clock - self._last_clock)
            self.blocks.append(block)
        self._collector_seconds = 0.0
        self.last_turn, self._last_clock = now, clock

    def note_collector(self, phase: str, details: dict[str, int]) -> None:
        """Note how long the collector runs."""
        if phase == "start":
            self._collecting_since = perf_counter()
        else:
            self._collector_seconds += perf_counter() - self._collecting_since

    def stop(self) -> None:
        """Note what lies since the last turn, and come no more."""
        self._note()
        self._is_over = True


@contextmanager
def watched_loop(clock: Callable[[], float] = lambda: 0.0) -> Iterator[LoopWatch]:
    """Watch the running event loop for as long as the block runs; that loop never sleeps meanwhile.

    ``clock`` is read in each turn of the loop, such as the thread's own time on a processor.
    """
    watch = LoopWatch(clock)
    gc.callbacks.append(watch.note_collector)
    watch.turn()
    try:
        yield watch
    finally:
        watch.stop()
        gc.callbacks.remove(watch.note_collector)


def sum_up(turns: Sequence[Sequence[Block]]) -> dict[str, float]:
    """Sum up the blocks of several turns, in milliseconds: the longest, quantiles, how many per turn.

    The longest of all may be one in which the machine stopped the process; those of the usual turn are its own.
    """
    seconds = [block.own_seconds * 1000 for turn in turns for block in turn]
    with_collector = [block.seconds * 1000 for turn in turns for block in turn]
    if not seconds:
        return {"longest_block_ms": 0.0, "usual_longest_block_ms": 0.0}
    hundredths = quantiles(seconds, n=100) if len(seconds) > 1 else seconds * 99
    return {
        "longest_block_ms": max(seconds),
        "usual_longest_block_ms": median(
            max((block.own_seconds * 1000 for block in turn), default=0.0) for turn in turns
        ),
        "longest_with_collector_ms": max(with_collector),
        "median_block_ms": hundredths[49],
        "block_p90_ms": hundredths[89],
        "block_p99_ms": hundredths[98],
        **{
            f"blocks_over_{bound}_ms": sum(each > bound for each in seconds) / len(turns)
            for bound in _BOUNDS_MS
        },
    }


def sum_up_work(turns: Sequence[Sequence[Block]]) -> float:
    """Return the longest block of the usual turn in milliseconds of the watch's clock, collections aside.

    With the thread's time on a processor as clock, other processes have no part in it.
    """
    longest = [
        max((block.clock_seconds for block in turn if not block.collector_seconds), default=0.0)
        for turn in turns
    ]
    return median(longest) * 1000
