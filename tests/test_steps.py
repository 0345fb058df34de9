"""Long work stops by the clock, so that the event loop turns in between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

import pytest

from scheduler_repo import steps
from scheduler_repo.steps import CHUNK_ROWS, Steps, chunks_taken_from, finish_in_slices, in_slices

STEPS = 12


@asynccontextmanager
async def counted_turns() -> AsyncIterator[Callable[[], int]]:
    """Yields what says how often another task has had its turn."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(turn())
    await asyncio.sleep(0)
    try:
        yield lambda: turns
    finally:
        other.cancel()


class TestSlices:
    @pytest.mark.parametrize(
        ("steps_a_slice", "slices"),
        [
            (1, STEPS),
            (4, STEPS // 4),
            # Of a slice that is not over, half is used, or more.
            (STEPS * 2, 0),
            (STEPS * 2 - 1, 1),
        ],
    )
    async def test_the_loop_turns_when_a_slice_is_over(
        self, steps_a_slice: int, slices: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given: a clock that each step moves by one
        now = 0
        monkeypatch.setattr(steps, "perf_counter", lambda: now)
        turns_at_step: list[int] = []

        def work() -> Steps[str]:
            nonlocal now
            for _ in range(STEPS):
                turns_at_step.append(turns())
                now += 1
                yield
            return "done"

        async with counted_turns() as turns:
            # when
            result = await finish_in_slices(work(), longest_slice=steps_a_slice)
        # then
        assert result == "done"
        assert turns_at_step == [number // steps_a_slice for number in range(STEPS)]
        assert turns() == slices

    async def test_a_cancel_ends_the_work_between_two_slices(self) -> None:
        # given
        done: list[int] = []

        def work() -> Steps[None]:
            for number in count():
                done.append(number)
                yield

        task = asyncio.create_task(finish_in_slices(work(), longest_slice=0))
        await asyncio.sleep(0)
        # when
        task.cancel()
        # then
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == [0]


class TestBatches:
    @pytest.mark.parametrize("size", [0, 1, 1_000])
    async def test_items_come_all_and_in_order(self, size: int) -> None:
        assert [item async for item in in_slices(range(size), longest_slice=0)] == list(range(size))

    async def test_the_loop_turns_while_items_are_worked_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # given: a clock that the work on each item moves by one
        now = 0
        monkeypatch.setattr(steps, "perf_counter", lambda: now)
        turns_at_item: list[int] = []
        async with counted_turns() as turns:
            # when
            async for _ in in_slices(range(STEPS), longest_slice=4):
                turns_at_item.append(turns())
                now += 1
        # then
        assert turns_at_item == [number // 4 for number in range(STEPS)]

    @pytest.mark.parametrize(("items_a_slice", "slices"), [(STEPS * 2, 0), (STEPS * 2 - 1, 1)])
    async def test_a_slice_that_is_half_used_does_not_add_to_what_comes_next(
        self, items_a_slice: int, slices: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given
        now = 0
        monkeypatch.setattr(steps, "perf_counter", lambda: now)
        async with counted_turns() as turns:
            # when
            async for _ in in_slices(range(STEPS), longest_slice=items_a_slice):
                now += 1
            # then
            assert turns() == slices


@pytest.mark.parametrize("size", [0, 1, CHUNK_ROWS, 3 * CHUNK_ROWS + 1])
def test_rows_are_taken_from_a_list_in_their_order(size: int) -> None:
    rows = list(range(size))
    left: list[int] = []
    taken: list[int] = []
    for chunk in chunks_taken_from(rows):
        taken += chunk
        left.append(len(rows))
    assert taken == list(range(size))
    assert left == [max(0, size - CHUNK_ROWS * number) for number in range(1, len(left) + 1)]
    assert not rows
