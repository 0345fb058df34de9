"""Trying again what failed for a reason that passes by itself."""

import enum
from collections.abc import Awaitable, Callable
from typing import Optional, TypeVar

import msgspec
import tenacity
from tenacity.wait import wait_base

from scheduler_repo.errors import DatabaseError, InvalidInput, OutcomeUnknown
from scheduler_repo.resilience.operation import OperationKind, current_operation
from scheduler_repo.resilience.resilience import Policy
from scheduler_repo.resilience.transient import is_transient

R = TypeVar("R")

_LONGEST_WAIT = 3600.0
_FACTOR = 2


class BackoffStrategy(enum.StrEnum):
    """How the wait before a retry grows: not at all, or to twice the last one."""

    FIXED = "fixed"
    EXPONENTIAL = "exponential"


class RetryArgs(msgspec.Struct, frozen=True, kw_only=True):
    """How often to try again and how long to wait before each retry (seconds).

    ``max_delay`` bounds the growing wait; ``jitter`` adds a random part of up to so many seconds to each wait,
    so that many callers that failed together do not come back together. ``is_retryable`` is the allowlist, by
    default ``is_transient``; what is in ``non_retryable_exceptions`` is never tried again.
    """

    max_retries: int = 10
    retry_delay: float = 0.1
    backoff_strategy: BackoffStrategy = BackoffStrategy.FIXED
    max_delay: float = 10.0
    jitter: float = 0.0
    non_retryable_exceptions: tuple[type[BaseException], ...] = ()
    is_retryable: Callable[[BaseException, OperationKind], bool] = is_transient

    def __post_init__(self) -> None:
        if type(self.max_retries) is not int or self.max_retries < 0:
            raise InvalidInput(f"max_retries {self.max_retries!r:.40} is no number of retries; give 0 or more")
        for name in ("retry_delay", "max_delay", "jitter"):
            seconds = getattr(self, name)
            # A bool is an int to Python, and NaN is never in a range.
            if type(seconds) not in (int, float) or not 0 <= seconds <= _LONGEST_WAIT:
                raise InvalidInput(
                    f"{name} {seconds!r:.40} cannot be waited; give 0 to {_LONGEST_WAIT:g} seconds"
                )
        if not isinstance(self.backoff_strategy, BackoffStrategy):
            raise InvalidInput(f"backoff_strategy {self.backoff_strategy!r:.40} is no BackoffStrategy")
        if not _are_exception_classes(self.non_retryable_exceptions):
            raise InvalidInput(
                f"non_retryable_exceptions {self.non_retryable_exceptions!r:.60} is no tuple of exception "
                "classes; give (ValueError,) for one"
            )


class RetryPolicy(Policy):
    """Makes a call again while what it fails with is transient; raises what it failed with last."""

    def __init__(self, args: Optional[RetryArgs] = None) -> None:
        """Take the arguments; 10 retries, 0.1 s apart, unless given."""
        self._args = RetryArgs() if args is None else args
        self._wait = _wait_of(self._args)

    async def execute(self, call: Callable[[], Awaitable[R]]) -> R:
        """Make the call; raises what it raises. Costs a function call when nothing fails."""
        try:
            return await call()
        except Exception as error:
            if not self._args.max_retries or not self._may_retry(error):
                raise
            return await self._retry(call, error)

    async def _retry(self, call: Callable[[], Awaitable[R]], failed: Exception) -> R:
        operation = current_operation()
        failures: list[BaseException] = []

        async def attempt() -> R:
            # tenacity comes in only now, with the first failure as its first try: it costs more than the
            # call's other policies together.
            if not failures:
                raise failed
            if operation is not None:
                operation.retried()
            return await call()

        def note(state: tenacity.RetryCallState) -> None:
            error = failed if state.outcome is None else state.outcome.exception()
            if isinstance(error, Exception):
                failures.append(error)
                if operation is not None:
                    operation.failed_with(error)

        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._args.max_retries + 1),
            wait=self._wait,
            retry=tenacity.retry_if_exception(self._may_retry),
            before_sleep=note,
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except DatabaseError as error:
            # A later failure, such as one to connect, says nothing of an earlier try that may stand.
            lost = next((failure for failure in failures if isinstance(failure, OutcomeUnknown)), None)
            if lost is None or isinstance(error, OutcomeUnknown):
                raise
            raise OutcomeUnknown(f"{lost}; it was asked again, and then: {error}") from lost

    def _may_retry(self, error: BaseException) -> bool:
        if not isinstance(error, Exception) or isinstance(error, self._args.non_retryable_exceptions):
            return False
        operation = current_operation()
        kind = OperationKind.WRITE if operation is None else operation.kind
        return self._args.is_retryable(error, kind)


def _wait_of(args: RetryArgs) -> wait_base:
    if args.backoff_strategy is BackoffStrategy.EXPONENTIAL:
        growing = tenacity.wait_exponential(multiplier=args.retry_delay, exp_base=_FACTOR, max=args.max_delay)
        return growing + tenacity.wait_random(0, args.jitter)
    return tenacity.wait_fixed(args.retry_delay) + tenacity.wait_random(0, args.jitter)


def _are_exception_classes(given: object) -> bool:
    return isinstance(given, tuple) and all(
        isinstance(kind, type) and issubclass(kind, BaseException) for kind in given
    )
