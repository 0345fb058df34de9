"""A sorted set of what agents have free, searched for what holds a request."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import chain
from typing import Optional

from scheduler_repo.scheduling.rules.feasibility import Wanted, first_short

# What an agent has free, one amount per dimension; agents in the same state are interchangeable.
State = tuple[int, ...]
_BLOCK_SIZE = 64


class FreeCapacitySet:
    """A sorted set of states of one length, in blocks that know their maximum per dimension.

    A search skips a block whose maximum is too small. Adding and removing cost one bisection and one block; a
    search that finds nothing looks at the maximum of every block.
    """

    def __init__(self) -> None:
        self._blocks: list[list[State]] = []
        self._lasts: list[State] = []
        self._ceilings: list[Optional[State]] = []  # None: to be computed when next looked at

    def __reversed__(self) -> Iterator[State]:
        return chain.from_iterable(map(reversed, reversed(self._blocks)))

    def add(self, state: State) -> None:
        """Add a state that is not in the set."""
        if not self._blocks:
            self._insert_block(0, [state])
            return
        at = min(bisect_left(self._lasts, state), len(self._blocks) - 1)
        block = self._blocks[at]
        insort(block, state)
        if len(block) > _BLOCK_SIZE:
            half = len(block) // 2
            self._insert_block(at + 1, block[half:])
            del block[half:]
        self._touch(at)

    def remove(self, state: State) -> None:
        """Remove a state that is in the set."""
        at = bisect_left(self._lasts, state)
        block = self._blocks[at]
        del block[bisect_left(block, state)]
        if block:
            self._touch(at)
        else:
            del self._blocks[at], self._lasts[at], self._ceilings[at]

    def fitting(self, wanted: Wanted) -> Iterator[State]:
        """Yield the states that hold all of ``wanted``, whose dimensions ascend, in ascending order.

        The set must not change meanwhile.
        """
        start = 0
        if wanted and wanted[0][0] == 0:
            start = bisect_left(self._lasts, wanted[0][1:])
        for at in range(start, len(self._blocks)):
            ceiling = self._ceilings[at]
            if ceiling is None:
                ceiling = self._ceilings[at] = tuple(map(max, zip(*self._blocks[at], strict=True)))
            if first_short(wanted, ceiling) is None:
                for state in self._blocks[at]:
                    if first_short(wanted, state) is None:
                        yield state

    def _insert_block(self, at: int, block: list[State]) -> None:
        self._blocks.insert(at, block)
        self._lasts.insert(at, block[-1])
        self._ceilings.insert(at, None)

    def _touch(self, at: int) -> None:
        self._lasts[at] = self._blocks[at][-1]
        self._ceilings[at] = None
