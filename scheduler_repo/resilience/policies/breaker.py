"""Not asking for a while what did not answer, as a policy on the circuit breaker of purgatory."""

import asyncio
import contextvars
import enum
import math
from collections.abc import Awaitable, Callable
from typing import Final, Optional, TypeVar

import msgspec
import purgatory

from scheduler_repo.errors import BreakerOpen, InvalidInput
from scheduler_repo.resilience.resilience import Policy

R = TypeVar("R")

_LONGEST_RECOVERY: Final = 3600.0
# The library would compare wall clocks, which may be set back: when to try again is decided here.
_AT_ONCE: Final = -math.inf
_CANCEL_SECONDS: Final = 0.1


class BreakerState(enum.StrEnum):
    """Calls are made; are refused; are refused but for one probe, which is under way."""

    CLOSED = "closed"
    OPEN = "opened"
    HALF_OPEN = "half-opened"


class BreakerArgs(msgspec.Struct, frozen=True, kw_only=True):
    """What opens a breaker, and for how long.

    ``is_failure`` says which errors count; ``threshold`` of them in a row open it. Then ``probe`` is made every
    ``recovery`` seconds, beside the calls, until it returns True: no call pays for trying. It must not raise.
    ``on_change`` is told each new state.
    """

    name: str
    is_failure: Callable[[Exception], bool]
    probe: Callable[[], Awaitable[bool]]
    threshold: int = 1
    recovery: float = 1.0
    on_change: Optional[Callable[[BreakerState], None]] = None

    def __post_init__(self) -> None:
        if type(self.threshold) is not int or self.threshold < 1:
            raise InvalidInput(f"threshold {self.threshold!r:.40} is no number of failures; give 1 or more")
        _check_recovery(self.recovery)


def _check_recovery(seconds: object) -> None:
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, (int, float))
        or not 0 < seconds <= _LONGEST_RECOVERY
    ):
        raise InvalidInput(
            f"recovery {seconds!r:.40} cannot be waited; give seconds above 0, at most {_LONGEST_RECOVERY:g}"
        )


class _ProbeFailed(Exception):
    """Tells the library that a probe was not answered."""


class CircuitBreakerPolicy(Policy):
    """Refuses calls with BreakerOpen from a failure on, until a probe is answered.

    For one server: make one for each. A cancelled call says nothing about the server and counts as nothing; so
    does the end of a call that was made before the breaker opened.
    """

    def __init__(self, args: BreakerArgs) -> None:
        """Take the arguments; the breaker is closed."""
        self._args = args
        self._factory = purgatory.AsyncCircuitBreakerFactory(
            default_threshold=args.threshold, default_ttl=_AT_ONCE
        )
        self._factory.add_listener(self._on_event)
        self._state = BreakerState.CLOSED
        # Its text alone: an error holds on to all that its call had at hand.
        self._last_failure = ""
        self._failures = 0
        self._probing: Optional[asyncio.Task[None]] = None
        self._closed = asyncio.Event()
        self._closed.set()

    @property
    def state(self) -> BreakerState:
        """The state now."""
        return self._state

    async def execute(self, call: Callable[[], Awaitable[R]]) -> R:
        """Make the call; raises BreakerOpen, without making it, or what it raises."""
        if self._state is not BreakerState.CLOSED:
            self._keep_probing()
            raise BreakerOpen(
                f"{self._args.name} is not asked now, as it failed ({self._last_failure}); it is tried again "
                f"every {self._args.recovery:g} s"
            )
        try:
            result = await call()
        except Exception as error:
            if self._args.is_failure(error) and self._state is BreakerState.CLOSED:
                await self._failed(error)
            raise
        if self._failures and self._state is BreakerState.CLOSED:
            self._failures = 0
            async with await self._factory.get_breaker(self._args.name):
                pass
        return result

    async def recovered(self) -> None:
        """Wait until the breaker is closed."""
        await self._closed.wait()

    async def aclose(self) -> None:
        """Stop probing; the breaker stays as it is until the next call."""
        probing, self._probing = self._probing, None
        if probing is not None:
            # A probe that ends just then may lose the cancel; the loop around it goes on.
            while not probing.done():
                probing.cancel()
                await asyncio.wait([probing], timeout=_CANCEL_SECONDS)

    async def _failed(self, error: Exception) -> None:
        self._last_failure = str(error)
        self._failures += 1
        try:
            async with await self._factory.get_breaker(self._args.name):
                raise _ProbeFailed
        except _ProbeFailed:
            pass
        if self._state is not BreakerState.CLOSED:
            self._keep_probing()

    def _keep_probing(self) -> None:
        if self._probing is None or self._probing.done():
            # It belongs to no call, and has no deadline of one.
            self._probing = asyncio.create_task(self._probe(), context=contextvars.Context())

    async def _probe(self) -> None:
        while self._state is not BreakerState.CLOSED:
            await asyncio.sleep(self._args.recovery)
            try:
                # In half-open state the library would let every call through; here only this one is made.
                async with await self._factory.get_breaker(self._args.name):
                    if not await self._args.probe():
                        raise _ProbeFailed
            except _ProbeFailed:
                continue

    def _on_event(self, _name: str, event: str, details: purgatory.Event) -> None:
        if event != "state_changed" or not isinstance(details, purgatory.ContextChanged):
            return
        self._state = BreakerState(details.state)
        if self._state is BreakerState.CLOSED:
            self._failures = 0
            self._closed.set()
        else:
            self._closed.clear()
        if self._args.on_change is not None:
            self._args.on_change(self._state)
