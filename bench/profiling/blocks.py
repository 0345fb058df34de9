"""The longest times for which the event loop turned to nobody, with what ran meanwhile.

A thread looks at the loop's own stack about twice a millisecond. It cannot look while one call of C code keeps
the interpreter to itself, as the cyclic collector does; what that takes is noted apart.
"""

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter, sleep, thread_time
from types import CodeType, FrameType
from typing import Final, Optional

import msgspec

from bench.measure.stall import Block, LoopWatch, watched_loop
from bench.profiling.frames import shown_path

_INTERVAL_SECONDS: Final = 0.0005
_LEAST_SECONDS: Final = 0.001
_LONGEST_SHOWN: Final = 10
_DEEPEST: Final = 100
_INNERMOST_SHOWN: Final = 12
# What sees that the collector ran is not what ran.
_WATCHERS: Final = frozenset({"bench/measure/stall.py", "bench/profiling/blocks.py"})
_Stack = tuple[tuple[CodeType, int], ...]


class LoopBlock(msgspec.Struct, frozen=True):
    """One block: its length, the collector's part, and the calls that most of its samples are in, inwards.

    It waited for a processor for what ``processor_ms`` leaves of it.
    """

    ms: float
    processor_ms: float
    collector_ms: float
    samples: int
    stack: tuple[str, ...]


class BlockFinder:
    """Watches calls one after the other, and keeps the longest blocks."""

    def __init__(self) -> None:
        """Nothing was watched yet."""
        self._found: list[LoopBlock] = []

    @property
    def longest(self) -> tuple[LoopBlock, ...]:
        """The longest blocks of all calls, of a millisecond at least."""
        return tuple(sorted(self._found, key=lambda block: -block.ms)[:_LONGEST_SHOWN])

    async def watch(self, call: Callable[[], Awaitable[object]]) -> None:
        """Run a call, and note its blocks."""
        with _often_switched(), watched_loop(thread_time) as watch, _sampled(watch) as samples:
            # To start the thread is no part of the call.
            await asyncio.sleep(0)
            watch.blocks.clear()
            answer = await call()
            # The last piece of the call ends with the loop's turn.
            await asyncio.sleep(0)
            blocks = tuple(watch.blocks)
        del answer
        for block in blocks:
            if block.seconds >= _LEAST_SECONDS:
                stacks = [
                    stack for at, stack in samples if block.ended_at - block.seconds <= at <= block.ended_at
                ]
                found = _describe(block, stacks)
                if not _was_put_off(found):
                    self._found.append(found)
        self._found = list(self.longest)


class _Samples(threading.Thread):
    """Looks at the stack of the thread that made it, whenever its loop has not turned for a while.

    What it keeps would lengthen each collection, so it looks at nothing else.
    """

    def __init__(self, watch: LoopWatch) -> None:
        super().__init__(daemon=True)
        self._watch = watch
        self._watched = threading.get_ident()
        self._is_over = threading.Event()
        self.taken: list[tuple[float, _Stack]] = []

    def run(self) -> None:
        while not self._is_over.is_set():
            now = perf_counter()
            if now - self._watch.last_turn >= _LEAST_SECONDS / 2:
                self.taken.append((now, _walk(sys._current_frames().get(self._watched))))
            sleep(_INTERVAL_SECONDS)

    def stop(self) -> None:
        self._is_over.set()
        self.join()


@contextmanager
def _sampled(watch: LoopWatch) -> Iterator[list[tuple[float, _Stack]]]:
    samples = _Samples(watch)
    samples.start()
    try:
        yield samples.taken
    finally:
        samples.stop()


@contextmanager
def _often_switched() -> Iterator[None]:
    """Let the thread that samples have the interpreter soon after it asks for it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_INTERVAL_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _walk(frame: Optional[FrameType]) -> _Stack:
    found: list[tuple[CodeType, int]] = []
    while frame is not None and len(found) < _DEEPEST:
        found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(reversed(found))


def _describe(block: Block, stacks: Sequence[_Stack]) -> LoopBlock:
    common = list(_most_common(stacks))
    while common and shown_path(common[-1][0].co_filename) in _WATCHERS:
        common.pop()
    shown = [f"{code.co_qualname}  {shown_path(code.co_filename)}:{line}" for code, line in common]
    return LoopBlock(
        round(block.seconds * 1000, 3),
        round(block.clock_seconds * 1000, 3),
        round(block.collector_seconds * 1000, 3),
        len(stacks),
        tuple(shown[-_INNERMOST_SHOWN:]),
    )


def _was_put_off(block: LoopBlock) -> bool:
    """Whether the loop itself waited for a processor, while nothing that it calls was under way."""
    innermost = block.stack[-1] if block.stack else ""
    return block.processor_ms * 10 < block.ms and (not innermost or "asyncio/runners.py:" in innermost)


def _most_common(stacks: Sequence[_Stack]) -> _Stack:
    """Go inwards from the outermost call for as long as half of all samples are in the same one."""
    found: list[tuple[CodeType, int]] = []
    left = list(stacks)
    while left:
        depth = len(found)
        calls = Counter(stack[depth][0] for stack in left if len(stack) > depth)
        if not calls:
            break
        code, count = calls.most_common(1)[0]
        if count * 2 < len(stacks):
            break
        left = [stack for stack in left if len(stack) > depth and stack[depth][0] is code]
        line = Counter(stack[depth][1] for stack in left).most_common(1)[0][0]
        found.append((code, line))
    return tuple(found)
