"""A circuit breaker: after a failure, calls are refused until a probe beside them is answered."""

import asyncio
import contextvars
import enum
from collections.abc import Awaitable, Callable
from typing import Final, Optional, TypeVar

import msgspec

from scheduler_repo.errors import BreakerOpen
from scheduler_repo.resilience.resilience import Policy
from scheduler_repo.validation import FailureCount, Recovery, check_fields
from scheduler_repo.wiring import check_wiring

R = TypeVar("R")

_CANCEL_SECONDS: Final = 0.1


class BreakerState(enum.StrEnum):
    """Whether calls are made (CLOSED), or are refused (OPEN; HALF_OPEN while a probe is under way)."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerArgs(msgspec.Struct, frozen=True, kw_only=True):
    """What opens a breaker, and for how long.

    ``is_failure`` says which errors count; ``threshold`` of them in a row open it. Then ``probe`` is made every
    ``recovery`` seconds, beside the calls, until it returns True: no call pays for trying. It must not raise.
    ``on_change`` is told each new state.
    """

    name: str
    is_failure: Callable[[Exception], bool]
    probe: Callable[[], Awaitable[bool]]
    threshold: FailureCount = 1
    recovery: Recovery = 1.0
    on_change: Optional[Callable[[BreakerState], None]] = None

    def __post_init__(self) -> None:
        check_fields(self)


class CircuitBreakerPolicy(Policy):
    """Refuses calls with BreakerOpen from a failure on, until a probe is answered.

    For one server: make one for each. A cancelled call says nothing about the server and counts as nothing; so
    does the end of a call, while the breaker is open, that was made before.
    """

    def __init__(self, args: BreakerArgs) -> None:
        """Start closed; raises InvalidWiring for anything else."""
        check_wiring(args, BreakerArgs, "args", "BreakerArgs(...)")
        self._args = args
        self.state = BreakerState.CLOSED
        # Its text alone: an error holds on to all that its call had at hand.
        self._last_failure = ""
        self._failures_in_a_row = 0
        self._probing: Optional[asyncio.Task[None]] = None
        self._closed = asyncio.Event()
        self._closed.set()

    async def execute(self, call: Callable[[], Awaitable[R]]) -> R:
        if self.state is not BreakerState.CLOSED:
            self._keep_probing()
            raise BreakerOpen(
                f"{self._args.name} is not asked now, as it failed ({self._last_failure}); it is tried again "
                f"every {self._args.recovery:g} s"
            )
        try:
            result = await call()
        except Exception as error:
            if self._args.is_failure(error):
                self._count_failure(error)
            raise
        self._failures_in_a_row = 0
        return result

    async def recovered(self) -> None:
        """Wait until the breaker is closed."""
        await self._closed.wait()

    async def aclose(self) -> None:
        """Stop probing; the breaker stays as it is until the next call."""
        probing, self._probing = self._probing, None
        if probing is not None and probing.get_loop() is asyncio.get_running_loop():
            # A probe that ends just then may lose the cancel; the loop around it goes on.
            while not probing.done():
                probing.cancel()
                await asyncio.wait([probing], timeout=_CANCEL_SECONDS)

    def _count_failure(self, error: Exception) -> None:
        if self.state is not BreakerState.CLOSED:
            return
        self._last_failure = str(error)
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._args.threshold:
            self._enter(BreakerState.OPEN)
            self._keep_probing()

    def _keep_probing(self) -> None:
        # A probe of an event loop that was closed never ends.
        if self._probing is None or self._probing.done() or self._probing.get_loop().is_closed():
            # It belongs to no call, and has no deadline of one.
            self._probing = asyncio.create_task(self._probe(), context=contextvars.Context())

    async def _probe(self) -> None:
        while self.state is not BreakerState.CLOSED:
            await asyncio.sleep(self._args.recovery)
            self._enter(BreakerState.HALF_OPEN)
            is_answered = False
            try:
                is_answered = await self._args.probe()
            finally:
                self._enter(BreakerState.CLOSED if is_answered else BreakerState.OPEN)

    def _enter(self, state: BreakerState) -> None:
        self.state = state
        if state is BreakerState.CLOSED:
            self._failures_in_a_row = 0
            self._closed.set()
        else:
            self._closed.clear()
        if self._args.on_change is not None:
            self._args.on_change(state)
