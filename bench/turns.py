"""Measuring alternatives in turns, as a noisy machine treats neighbours alike and strangers not."""

import gc
from collections.abc import Awaitable, Callable, Mapping
from statistics import median
from time import perf_counter

Alternative = Callable[[], Awaitable[object]]


async def medians_in_turns(alternatives: Mapping[str, Alternative], rounds: int) -> dict[str, float]:
    """Run each alternative once per round, in order, and return the medians of their times in milliseconds.

    One round before is not counted. What the last call left is collected before the clock starts.
    """
    times: dict[str, list[float]] = {name: [] for name in alternatives}
    for turn in range(rounds + 1):
        for name, alternative in alternatives.items():
            gc.collect()
            started = perf_counter()
            answer = await alternative()
            elapsed = (perf_counter() - started) * 1000
            del answer
            if turn:
                times[name].append(elapsed)
    return {name: median(values) for name, values in times.items()}
