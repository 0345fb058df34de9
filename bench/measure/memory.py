"""Measures the memory that a call allocates and that its answer keeps."""

import gc
import tracemalloc

import msgspec

from bench.measure.turns import Call


class Weight(msgspec.Struct, frozen=True):
    """Bytes that Python's allocator gave out: at the most at a time, and still when only the answer is left."""

    kept: int
    peak: int


async def weigh(call: Call) -> Weight:
    """Run a call once, several times slower, and weigh it; run it before, so that caches are full."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        answer = await call()
        _, peak = tracemalloc.get_traced_memory()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        del answer
    finally:
        tracemalloc.stop()
    return Weight(kept - before, peak - before)
