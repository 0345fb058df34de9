"""Transforms in steps: generators that stop between chunks of rows, so that an event loop can turn."""

import asyncio
from collections.abc import Generator, Iterator, Sequence
from operator import attrgetter
from typing import Final, TypeVar

from scheduler_repo.types import SlotVector

T = TypeVar("T")
RowT = TypeVar("RowT")
Steps = Generator[None, None, T]

# About 2 ms of work on the slowest transform.
CHUNK_ROWS: Final = 2_000
# A UUID is grouped by its bytes: hashing the driver's UUID objects takes four times as long.
bytes_of = attrgetter("bytes")


def finish(steps: Steps[T]) -> T:
    """Run a transform to its end at once."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


async def finish_in_slices(steps: Steps[T]) -> T:
    """Run a transform to its end, giving way to the event loop after each chunk (a few ms)."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        await asyncio.sleep(0)


def chunks_of(rows: Sequence[RowT]) -> Iterator[Sequence[RowT]]:
    """Cut rows into the chunks between which a transform stops."""
    return (rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS))


def fitted(amounts: Sequence[int], width: int) -> SlotVector:
    """Return amounts as a vector of the known slots, longer only where there is something beyond them."""
    end = len(amounts)
    while end > width and not amounts[end - 1]:
        end -= 1
    return tuple(amounts[:end]) + (0,) * (width - end)
