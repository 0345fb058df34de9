"""Repeating what failed for a reason that passes by itself."""

import asyncio
import enum
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Optional, TypeVar

import msgspec

from scheduler_repo.errors import DatabaseError, InvalidInput, OutcomeUnknown
from scheduler_repo.resilience.clients import passes_by_itself
from scheduler_repo.resilience.operation import OperationKind, current_operation
from scheduler_repo.resilience.resilience import Policy
from scheduler_repo.validation import RetryCount, RetryWait, check_fields, check_kind
from scheduler_repo.wiring import check_wiring

R = TypeVar("R")

# From here on a growing wait is above any ``max_delay``, and its power soon above what a float holds.
_LARGEST_POWER = 64
_waits_disabled = 0


class BackoffStrategy(enum.StrEnum):
    """How the wait before a retry grows: not at all, or to twice the last one."""

    FIXED = "fixed"
    EXPONENTIAL = "exponential"


class RetryArgs(msgspec.Struct, frozen=True, kw_only=True):
    """How often to retry, and how long to wait before each retry (seconds).

    ``max_delay`` bounds the growing wait; ``jitter`` adds a random part of up to so many seconds to each wait,
    so that many callers that failed together do not come back together; 0 adds none. ``is_retryable`` is the
    allowlist, by default ``passes_by_itself``, of databases and clients; exceptions in
    ``non_retryable_exceptions`` are never retried.
    """

    max_retries: RetryCount = 10
    retry_delay: RetryWait = 0.1
    backoff_strategy: BackoffStrategy = BackoffStrategy.FIXED
    max_delay: RetryWait = 10.0
    jitter: RetryWait = 0.05
    non_retryable_exceptions: tuple[type[BaseException], ...] = ()
    is_retryable: Callable[[BaseException, OperationKind], bool] = passes_by_itself

    def __post_init__(self) -> None:
        check_fields(self)
        check_kind(self.backoff_strategy, BackoffStrategy, "backoff_strategy")
        given: object = self.non_retryable_exceptions
        if not isinstance(given, tuple) or not all(
            isinstance(kind, type) and issubclass(kind, BaseException) for kind in given
        ):
            raise InvalidInput(
                f"non_retryable_exceptions {given!r:.60} is no tuple of exception classes; "
                "give (ValueError,) for one"
            )


@contextmanager
def retry_waits_disabled() -> Iterator[None]:
    """Make all retries of this process follow at once inside the block: for tests."""
    global _waits_disabled
    _waits_disabled += 1
    try:
        yield
    finally:
        _waits_disabled -= 1


class RetryPolicy(Policy):
    """Makes a call again while it fails with a transient error; raises the last. Else costs a function call."""

    def __init__(self, args: Optional[RetryArgs] = None) -> None:
        """Retry 10 times, 0.1 s apart, or as ``args`` says; raises InvalidWiring for anything but RetryArgs."""
        self._args = RetryArgs() if args is None else args
        check_wiring(self._args, RetryArgs, "args", "RetryArgs(...), or None for the defaults")

    async def execute(self, call: Callable[[], Awaitable[R]]) -> R:
        retries = 0
        lost: Optional[OutcomeUnknown] = None
        while True:
            try:
                return await call()
            except Exception as error:
                operation = current_operation()
                kind = OperationKind.WRITE if operation is None else operation.kind
                if retries == self._args.max_retries or not self._may_retry(error, kind):
                    # A later failure, such as one to connect, says nothing of an earlier COMMIT that may stand.
                    is_new = isinstance(error, DatabaseError) and not isinstance(error, OutcomeUnknown)
                    if lost is not None and is_new:
                        raise lost.with_message(f"{lost}; it was asked again, and then: {error}") from lost
                    raise
                if isinstance(error, OutcomeUnknown):
                    lost = lost or error
                if operation is not None:
                    operation.note_failure(error)
            await asyncio.sleep(self._choose_wait(retries))
            retries += 1
            if operation is not None:
                operation.note_retry()

    def _may_retry(self, error: Exception, kind: OperationKind) -> bool:
        is_retryable = self._args.is_retryable
        return not isinstance(error, self._args.non_retryable_exceptions) and is_retryable(error, kind)

    def _choose_wait(self, retries: int) -> float:
        if _waits_disabled:
            return 0.0
        wait = self._args.retry_delay
        if self._args.backoff_strategy is BackoffStrategy.EXPONENTIAL:
            wait = min(wait * 2 ** min(retries, _LARGEST_POWER), self._args.max_delay)
        return wait + random.uniform(0.0, self._args.jitter)  # noqa: S311 - it keeps no secret
