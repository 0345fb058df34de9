"""What is built while the server works: the fetch is over when both are, however they end."""

import asyncio

import pytest

from scheduler_repo.database.statements import fetch_beside
from scheduler_repo.steps import Steps


class _Refused(Exception):
    """What a step or a fetch raises here."""


class _Fetch:
    """A fetch that waits for its answer."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()

    async def run(self) -> str:
        try:
            await self.answered.wait()
            return "rows"
        finally:
            await asyncio.sleep(0)  # as a driver that tells the server to stop


def _steps(fetch: _Fetch) -> Steps[str]:
    yield
    fetch.answered.set()
    yield
    return "built"


def _failing_steps() -> Steps[str]:
    yield
    raise _Refused


def _endless_steps() -> Steps[str]:
    while True:
        yield


def _nothing_else_runs() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


class TestFetchBeside:
    async def test_returns_both(self) -> None:
        # given
        fetch = _Fetch()
        # when / then: the steps run while the answer is still awaited
        assert await fetch_beside(fetch.run(), _steps(fetch)) == ("rows", "built")

    async def test_a_step_fails(self) -> None:
        # given
        fetch = _Fetch()
        # when
        with pytest.raises(_Refused):
            await fetch_beside(fetch.run(), _failing_steps())
        # then
        assert _nothing_else_runs()

    async def test_the_fetch_fails(self) -> None:
        # given
        fetch = _Fetch()

        async def refused() -> str:
            raise _Refused

        # when / then
        with pytest.raises(_Refused):
            await fetch_beside(refused(), _steps(fetch))

    @pytest.mark.parametrize("turns", range(1, 5))
    async def test_is_cancelled(self, turns: int) -> None:
        # given
        fetch = _Fetch()
        both = asyncio.ensure_future(fetch_beside(fetch.run(), _endless_steps()))
        for _ in range(turns):
            await asyncio.sleep(0)
        # when
        both.cancel()
        # then
        with pytest.raises(asyncio.CancelledError):
            await both
        assert _nothing_else_runs()

    async def test_is_cancelled_while_it_waits_for_the_answer(self) -> None:
        # given
        fetch, other = _Fetch(), _Fetch()
        both = asyncio.ensure_future(fetch_beside(fetch.run(), _steps(other)))
        await other.answered.wait()
        await asyncio.sleep(0)
        # when
        both.cancel()
        # then
        with pytest.raises(asyncio.CancelledError):
            await both
        assert _nothing_else_runs()
