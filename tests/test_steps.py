"""Long work stops by the clock, so that the event loop turns in between."""

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest

from scheduler_repo import steps
from scheduler_repo.steps import Steps, collect, finish, finish_in_slices

STEPS = 12


class TestSlices:
    @pytest.mark.parametrize(("steps_a_slice", "slices"), [(1, STEPS), (4, STEPS // 4), (STEPS + 1, 0)])
    async def test_the_loop_turns_when_a_slice_is_over(
        self, steps_a_slice: int, slices: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given: a clock that each step moves by one, and another task
        now = turns = 0
        monkeypatch.setattr(steps, "perf_counter", lambda: now)
        turns_at_step: list[int] = []

        def work() -> Steps[str]:
            nonlocal now
            for _ in range(STEPS):
                turns_at_step.append(turns)
                now += 1
                yield
            return "done"

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        other = asyncio.create_task(turn())
        await asyncio.sleep(0)
        # when
        result = await finish_in_slices(work(), longest_slice=steps_a_slice)
        other.cancel()
        # then
        assert result == "done"
        assert turns_at_step == [number // steps_a_slice for number in range(STEPS)]
        assert turns == slices

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


class TestCollect:
    @pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1_000])
    def test_collects_all_in_order(self, size: int) -> None:
        assert finish(collect(number for number in range(size))) == list(range(size))

    def test_stops_every_few(self) -> None:
        # given
        made: list[int] = []

        def make() -> Iterator[int]:
            for number in range(100):
                made.append(number)
                yield number

        # when
        at_stops = [len(made) for _ in collect(make())]
        # then
        assert at_stops[-1] == 100
        assert max(after - before for before, after in zip([0, *at_stops], at_stops, strict=False)) <= 16
