"""Measuring sides in turns, A B A B: a noisy machine treats neighbours alike and strangers not."""

import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Final, Optional

import msgspec

Call = Callable[[], Awaitable[object]]
_MILLISECONDS: Final = 1000


@contextmanager
def spare_collector() -> Iterator[None]:
    """Keep what is there already out of the collections before each turn: they would take longer than it."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class Side(msgspec.Struct, frozen=True):
    """One of several ways to do the same work; only ``run`` is timed.

    ``before`` and ``after`` bring about and undo what a turn needs. A side that does only a part of the work,
    as the whole would take minutes, says how many times that part the work is (``parts``), and how often it
    runs (``turns``).
    """

    run: Call
    before: Optional[Call] = None
    after: Optional[Call] = None
    parts: float = 1
    turns: Optional[int] = None


class PartlyDone(msgspec.Struct, frozen=True):
    """The answer of a side that did only a part of its work: in ``seconds``, of ``parts`` such parts."""

    seconds: float
    parts: float


class Times(msgspec.Struct, frozen=True):
    """The milliseconds of one side's turns."""

    median_ms: float
    min_ms: float
    max_ms: float
    n: int

    @classmethod
    def of(cls, milliseconds: "list[float]") -> "Times":
        """Sum up the turns, one at least."""
        return cls(median(milliseconds), min(milliseconds), max(milliseconds), len(milliseconds))


async def run_side(side: Side) -> float:
    """Run one turn of a side and return its milliseconds, as if it had done the whole work."""
    await prepare_side(side)
    try:
        return await time_side(side)
    finally:
        await clear_up_side(side)


async def prepare_side(side: Side) -> None:
    """Bring about what a turn needs; what the turn before has left is collected before the clock starts."""
    if side.before is not None:
        await side.before()
    gc.collect()


async def time_side(side: Side) -> float:
    """Run a side that is prepared, and return its milliseconds."""
    started = perf_counter()
    answer = await side.run()
    elapsed = perf_counter() - started
    if isinstance(answer, PartlyDone):
        elapsed += answer.seconds * (answer.parts - 1)
    del answer
    return elapsed * _MILLISECONDS * side.parts


async def clear_up_side(side: Side) -> None:
    """Undo what a turn has done."""
    if side.after is not None:
        await side.after()


class Turns:
    """The turns of several sides so far. The first one of each is a warm-up, and not counted."""

    def __init__(self, sides: Mapping[str, Side], turns: int) -> None:
        """Plan so many turns for each side that says nothing else."""
        self._sides = sides
        self._turns = turns
        self._taken: dict[str, list[float]] = {name: [] for name in sides}

    async def warm_up(self) -> None:
        """Run every side once."""
        for side in self._sides.values():
            await run_side(side)

    async def take(self, name: str) -> None:
        """Run one turn of a side, unless it has had all of its own."""
        side, taken = self._sides[name], self._taken[name]
        if len(taken) < (self._turns if side.turns is None else min(side.turns, self._turns)):
            self.note(name, await run_side(side))

    def note(self, name: str, milliseconds: float) -> None:
        """Count a turn that somebody else has timed."""
        self._taken[name].append(milliseconds)

    async def take_all(self) -> None:
        """Run one turn of each side, in their order."""
        for name in self._sides:
            await self.take(name)

    def times(self) -> dict[str, Times]:
        """Sum up the turns of the sides that have had any."""
        return {name: Times.of(taken) for name, taken in self._taken.items() if taken}
