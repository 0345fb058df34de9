"""Fewer runs of the cyclic collector while rows are read and built."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

# A read makes a new object for every row and struct, none of them part of a cycle: at the usual threshold of
# 700 the collector would look at them again and again, for half of the read's time. The rows of 200,000 pending
# sessions with their UUIDs are 1.2 million objects at a time; one look at half a million of them takes 0.15 s.
_RAISED_THRESHOLD = 2_000_000

_readers = 0
_threshold_before: Optional[tuple[int, int, int]] = None


@contextmanager
def collector_relaxed(*, enabled: bool = True) -> Iterator[None]:
    """Raise the collector's first threshold while any reader is inside; the last one out restores it.

    It is raised and not switched off, so that readers that never leave together do not leave a process without
    a collector. In an event loop a reader is out in the loop's next turn: the collector looks at all that was
    made then, when the reader has its answer and most likely waits for something else. ``enabled`` False leaves
    the collector alone.
    """
    global _readers, _threshold_before
    if not enabled:
        yield
        return
    if _readers == 0:
        _threshold_before = before = gc.get_threshold()
        # 0 means that the host has switched the collector off.
        if 0 < before[0] < _RAISED_THRESHOLD:
            gc.set_threshold(_RAISED_THRESHOLD, *before[1:])
    _readers += 1
    try:
        yield
    finally:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            _leave()
        else:
            loop.call_soon(_leave)


def _leave() -> None:
    global _readers
    _readers -= 1
    # Another threshold now is the host's own wish, made meanwhile.
    if _readers == 0 and _threshold_before is not None and gc.get_threshold()[0] == _RAISED_THRESHOLD:
        gc.set_threshold(*_threshold_before)
