"""Long work in steps: generators that stop every few rows, run so that an event loop can turn in between.

A step is a small part of a millisecond. Whoever runs steps in an event loop gives way by the clock, not after
each one: a turn costs more than a step, and other tasks may take long in it.
"""

import asyncio
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import islice
from time import perf_counter
from typing import Final, TypeVar

T = TypeVar("T")
RowT = TypeVar("RowT")
Steps = Generator[None, None, T]

# Of the slowest transform some 0.2 ms.
CHUNK_ROWS: Final = 256
# What is made or checked one by one takes up to 20 µs each.
_CHUNK_MADE: Final = 16
LONGEST_SLICE: Final = 0.001


def finish(steps: Steps[T]) -> T:
    """Run steps to their end at once."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


async def finish_in_slices(steps: Steps[T], *, longest_slice: float = LONGEST_SLICE) -> T:
    """Run steps to their end, giving way to the event loop after the first that ends past ``longest_slice`` s.

    The loop is then blocked for that time and one step at most, however many there are.
    """
    deadline = perf_counter() + longest_slice
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        if perf_counter() >= deadline:
            await asyncio.sleep(0)
            deadline = perf_counter() + longest_slice


def chunks_of(rows: Sequence[RowT]) -> Iterator[Sequence[RowT]]:
    """Cut rows into the chunks between which work stops."""
    return (rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS))


def chunks_taken_from(rows: list[RowT]) -> Iterator[Sequence[RowT]]:
    """Take rows out of their list, a chunk at a time: they go as they are used, not all of them at the end."""
    while chunk := rows[:CHUNK_ROWS]:
        del rows[:CHUNK_ROWS]
        yield chunk


def collect(items: Iterable[T]) -> Steps[list[T]]:
    """Make a list of what is made one by one, such as by a generator expression, in steps of a few."""
    iterator, collected = iter(items), list[T]()
    while chunk := list(islice(iterator, _CHUNK_MADE)):
        collected += chunk
        yield
    return collected
