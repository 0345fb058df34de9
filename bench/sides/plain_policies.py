"""The plain way to surround a call: a wait_for, a labelled counter and histogram, a loop of retries."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from time import perf_counter
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

NumberedCall = Callable[[int], Awaitable[int]]
_REGISTRY: Final = CollectorRegistry()
_CALLS: Final = Counter("plain_calls", "Calls, by outcome.", ["name", "outcome"], registry=_REGISTRY)
_SECONDS: Final = Histogram("plain_seconds", "What they took.", ["name"], registry=_REGISTRY)
_DEADLINE_SECONDS: Final = 30.0
_TRIES: Final = 3


def passed_on_plainly(call: NumberedCall) -> NumberedCall:
    """Surround a call by a decorator that does nothing."""

    @wraps(call)
    async def passed_on(number: int) -> int:
        return await call(number)

    return passed_on


def counted_plainly(call: NumberedCall) -> NumberedCall:
    """Count and time a call; the labels are looked up each time."""

    @wraps(call)
    async def counted(number: int) -> int:
        started = perf_counter()
        try:
            answer = await call(number)
        except Exception:
            _CALLS.labels(call.__name__, "failure").inc()
            raise
        _SECONDS.labels(call.__name__).observe(perf_counter() - started)
        _CALLS.labels(call.__name__, "success").inc()
        return answer

    return counted


def bounded_plainly(call: NumberedCall) -> NumberedCall:
    """Give a call a deadline."""

    @wraps(call)
    async def bounded(number: int) -> int:
        return await asyncio.wait_for(call(number), _DEADLINE_SECONDS)

    return bounded


def retried_plainly(call: NumberedCall) -> NumberedCall:
    """Make a call again after a lost connection."""

    @wraps(call)
    async def retried(number: int) -> int:
        for _ in range(_TRIES - 1):
            try:
                return await call(number)
            except ConnectionError:
                await asyncio.sleep(0.1)
        return await call(number)

    return retried
