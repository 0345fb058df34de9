"""A breaker refuses calls from a failure until a probe is answered, and no call pays for the probe."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from scheduler_repo.errors import BreakerOpen, InvalidInput, InvalidWiring
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.breaker import BreakerArgs, BreakerState, CircuitBreakerPolicy
from scheduler_repo.resilience.resilience import Resilience
from tests.support.waiting import PATIENCE

_RECOVERY = 0.05


class Line:
    """Something that answers or fails, as the test says."""

    def __init__(self) -> None:
        """It answers."""
        self.answers = True
        self.calls = 0
        self.probes = 0
        self.probed = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()
        self.changes: list[BreakerState] = []

    async def ask(self) -> str:
        """Answer, or fail."""
        self.calls += 1
        answers = self.answers
        await self.hold.wait()
        if not answers:
            raise ConnectionError("nobody there")
        return "yes"

    async def probe(self) -> bool:
        """Whether it answers."""
        self.probes += 1
        self.probed.set()
        await self.hold.wait()
        return self.answers


def _breaker(line: Line, *, recovery: float, threshold: int = 1) -> CircuitBreakerPolicy:
    return CircuitBreakerPolicy(
        BreakerArgs(
            name="the line",
            is_failure=lambda error: isinstance(error, ConnectionError),
            probe=line.probe,
            threshold=threshold,
            recovery=recovery,
            on_change=line.changes.append,
        )
    )


class TestCircuitBreakerPolicy:
    @pytest.fixture
    def line(self) -> Line:
        return Line()

    @pytest.fixture
    async def breaker(self, line: Line) -> AsyncIterator[CircuitBreakerPolicy]:
        """One that does not probe during a test."""
        made = _breaker(line, recovery=600.0)
        yield made
        await made.aclose()

    @pytest.fixture
    async def probing(self, line: Line) -> AsyncIterator[CircuitBreakerPolicy]:
        made = _breaker(line, recovery=_RECOVERY)
        yield made
        await made.aclose()

    async def test_a_failure_opens_it_and_calls_are_refused_unmade(
        self, line: Line, breaker: CircuitBreakerPolicy
    ) -> None:
        # Given a call that failed
        line.answers = False
        with pytest.raises(ConnectionError):
            await breaker.execute(line.ask)

        # When another is to be made
        with pytest.raises(BreakerOpen, match="the line is not asked now, as it failed \\(nobody there\\)"):
            await breaker.execute(line.ask)

        # Then it was not
        assert line.calls == 1
        assert breaker.state is BreakerState.OPEN

    async def test_a_probe_closes_it_beside_the_calls(self, line: Line, probing: CircuitBreakerPolicy) -> None:
        # Given an open breaker, and a probe that takes its time
        line.answers = False
        with pytest.raises(ConnectionError):
            await probing.execute(line.ask)
        line.hold.clear()
        async with asyncio.timeout(PATIENCE):
            await line.probed.wait()

        # When calls are made meanwhile, none waits for it
        with pytest.raises(BreakerOpen):
            await probing.execute(line.ask)

        # Then the probe's answer closes it
        line.answers = True
        line.hold.set()
        async with asyncio.timeout(PATIENCE):
            await probing.recovered()
        assert await probing.execute(line.ask) == "yes"
        assert line.calls == 2
        assert line.changes == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]

    async def test_it_stays_open_while_probes_fail(self, line: Line, probing: CircuitBreakerPolicy) -> None:
        line.answers = False
        with pytest.raises(ConnectionError):
            await probing.execute(line.ask)

        for _ in range(3):
            line.probed.clear()
            async with asyncio.timeout(PATIENCE):
                await line.probed.wait()

        with pytest.raises(BreakerOpen):
            await probing.execute(line.ask)
        assert BreakerState.CLOSED not in line.changes

    async def test_other_errors_do_not_open_it(self, breaker: CircuitBreakerPolicy) -> None:
        async def refuse() -> None:
            raise ValueError("not so")

        for _ in range(3):
            with pytest.raises(ValueError, match="not so"):
                await breaker.execute(refuse)
        assert breaker.state is BreakerState.CLOSED

    async def test_a_cancelled_call_says_nothing(self, line: Line, breaker: CircuitBreakerPolicy) -> None:
        line.hold.clear()
        call = asyncio.create_task(breaker.execute(line.ask))
        await asyncio.sleep(0)

        call.cancel()
        await asyncio.wait([call])

        assert call.cancelled()
        assert breaker.state is BreakerState.CLOSED

    @pytest.mark.parametrize("answers", [True, False])
    async def test_calls_from_before_it_opened_change_nothing(
        self, line: Line, breaker: CircuitBreakerPolicy, answers: bool
    ) -> None:
        # Given a call under way when another fails
        line.answers = answers
        line.hold.clear()
        earlier = asyncio.create_task(breaker.execute(line.ask))
        await asyncio.sleep(0)

        async def fail() -> None:
            raise ConnectionError("nobody there")

        with pytest.raises(ConnectionError):
            await breaker.execute(fail)

        # When the earlier one ends
        line.answers = False
        line.hold.set()
        await asyncio.wait([earlier])

        # Then the breaker is as it was
        assert line.changes == [BreakerState.OPEN]
        assert breaker.state is BreakerState.OPEN

    async def test_the_threshold_counts_failures_in_a_row(self, line: Line) -> None:
        breaker = _breaker(line, recovery=600.0, threshold=2)
        for answers in (False, True, False):
            line.answers = answers
            await asyncio.gather(breaker.execute(line.ask), return_exceptions=True)
        assert line.calls == 3

        await asyncio.gather(breaker.execute(line.ask), return_exceptions=True)
        with pytest.raises(BreakerOpen):
            await breaker.execute(line.ask)
        assert line.calls == 4
        await breaker.aclose()

    async def test_it_opens_again_if_a_probe_fails_unheard_of(self, line: Line) -> None:
        # Given a probe that raises, though it must not
        async def probe() -> bool:
            line.probed.set()
            raise LookupError

        breaker = CircuitBreakerPolicy(
            BreakerArgs(name="the line", is_failure=bool, probe=probe, recovery=_RECOVERY)
        )
        line.answers = False
        await asyncio.gather(breaker.execute(line.ask), return_exceptions=True)

        # When that has happened, and a call is made
        for _ in range(2):
            line.probed.clear()
            with pytest.raises(BreakerOpen):
                await breaker.execute(line.ask)
            async with asyncio.timeout(PATIENCE):
                await line.probed.wait()
            await asyncio.sleep(0)

        # Then it is open still, and was probed anew
        assert breaker.state is BreakerState.OPEN
        await breaker.aclose()

    async def test_it_surrounds_like_any_policy(self, line: Line, breaker: CircuitBreakerPolicy) -> None:
        ask = Resilience([breaker]).apply(OperationKind.READ)(line.ask)
        assert await ask() == "yes"

    @pytest.mark.parametrize(
        ("threshold", "recovery"),
        [(0, 1.0), (True, 1.0), (1, 0.0), (1, float("nan")), (1, float("inf")), (1, True)],
    )
    def test_arguments_that_are_none_are_refused(self, line: Line, threshold: int, recovery: float) -> None:
        with pytest.raises(InvalidInput, match=r"threshold|recovery"):
            BreakerArgs(
                name="the line", is_failure=bool, probe=line.probe, threshold=threshold, recovery=recovery
            )

    def test_a_class_of_arguments_is_refused(self) -> None:
        with pytest.raises(InvalidWiring, match="the class BreakerArgs"):
            CircuitBreakerPolicy(cast(BreakerArgs, BreakerArgs))
