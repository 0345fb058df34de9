"""Long work in slices, between which the event loop turns: steps of pure code, and the items of a batch.

A step is a small part of a millisecond. Whoever runs steps in an event loop gives way by the clock, not after
each one: a turn costs more than a step, and other tasks may take long in it.
"""

import asyncio
from collections.abc import Generator, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Final, Generic, TypeVar

T = TypeVar("T")
RowT = TypeVar("RowT")
# Pure code that stops every few rows.
Steps = Generator[None, None, T]

# Of the slowest transform some 0.1 ms.
CHUNK_ROWS: Final = 128
# Seconds: a quarter of a hundredth of what a read of 35,000 sessions takes.
LONGEST_SLICE: Final = 0.0005


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

    The loop is then blocked for that time and one step at most, however many there are. A last slice of over
    half that time is given back too, so that what comes next does not add to it.
    """
    began = perf_counter()
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            break
        if perf_counter() - began >= longest_slice:
            await asyncio.sleep(0)
            began = perf_counter()
    if perf_counter() - began > longest_slice / 2:
        await asyncio.sleep(0)
    return result


class in_slices(Generic[T]):  # noqa: N801 - read as ``async for item in in_slices(batch)``
    """Iterates over a batch, giving way to the event loop as ``finish_in_slices`` does; 0.2 µs an item.

    For work of over a µs an item, done where the items come out or in the iterator that makes them.
    """

    def __init__(self, items: Iterable[T], *, longest_slice: float = LONGEST_SLICE) -> None:
        """Begin a slice."""
        self._items = iter(items)
        self._longest = longest_slice
        self._began = perf_counter()

    def __aiter__(self) -> "in_slices[T]":
        return self

    async def __anext__(self) -> T:
        if perf_counter() - self._began >= self._longest:
            await asyncio.sleep(0)
            self._began = perf_counter()
        for item in self._items:
            return item
        if perf_counter() - self._began > self._longest / 2:
            await asyncio.sleep(0)
        raise StopAsyncIteration


def chunks_of(rows: Sequence[RowT]) -> Iterator[Sequence[RowT]]:
    """Cut rows into the chunks between which work stops."""
    return (rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS))


def chunks_taken_from(rows: list[RowT]) -> Iterator[Sequence[RowT]]:
    """Yield the rows of a list, a chunk at a time: they go as they are used, not all of them at the end."""
    # From the end: what is taken from the front moves all of the rest.
    rows.reverse()
    while chunk := rows[-CHUNK_ROWS:]:
        del rows[-CHUNK_ROWS:]
        chunk.reverse()
        yield chunk
