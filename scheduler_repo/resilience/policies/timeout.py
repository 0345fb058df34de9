"""One deadline for a public call, with everything in it: waiting for a connection, statements, retries."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Optional, TypeVar

import msgspec

from scheduler_repo.errors import DeadlineExceeded, InvalidInput
from scheduler_repo.resilience.operation import Operation, OperationKind, current_operation
from scheduler_repo.resilience.resilience import Policy

R = TypeVar("R")

# Longer than a write asks after a lost COMMIT by default (30 s).
DEFAULT_DEADLINE = 60.0
LONGEST_DEADLINE = 86_400.0


class TimeoutArgs(msgspec.Struct, frozen=True, kw_only=True):
    """How long a call may take, in seconds, unless ``call_deadline`` says otherwise."""

    deadline: float = DEFAULT_DEADLINE

    def __post_init__(self) -> None:
        _check(self.deadline)


_wanted: ContextVar[Optional[float]] = ContextVar("scheduler_repo_wanted_deadline", default=None)
_is_bounded: ContextVar[bool] = ContextVar("scheduler_repo_is_bounded", default=False)


@contextmanager
def call_deadline(seconds: float) -> Iterator[None]:
    """Give each public call that begins inside the block ``seconds`` instead of its own deadline.

    A call inside another keeps to the deadline of the outer one. Raises InvalidInput for what is not above 0
    and at most a day.
    """
    _check(seconds)
    token = _wanted.set(seconds)
    try:
        yield
    finally:
        _wanted.reset(token)


@contextmanager
def own_deadlines() -> Iterator[None]:
    """Have calls inside the block bound themselves, though the call around it has a deadline already.

    For work that a call begins on behalf of others too, and that goes on when the call is over.
    """
    token = _is_bounded.set(False)
    try:
        yield
    finally:
        _is_bounded.reset(token)


class TimeoutPolicy(Policy):
    """Ends a call at its deadline with DeadlineExceeded; inside a call that has one already, that one holds."""

    def __init__(self, args: Optional[TimeoutArgs] = None) -> None:
        """Take the deadline; 60 seconds unless given."""
        self._args = TimeoutArgs() if args is None else args

    async def execute(self, call: Callable[[], Awaitable[R]]) -> R:
        """Make the call; raises DeadlineExceeded."""
        if _is_bounded.get():
            return await call()
        wanted = _wanted.get()
        seconds = self._args.deadline if wanted is None else wanted
        token = _is_bounded.set(True)
        bound = asyncio.timeout(seconds)
        try:
            async with bound:
                return await call()
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise _exceeded(seconds, current_operation()) from error
        finally:
            _is_bounded.reset(token)


def _exceeded(seconds: float, operation: Optional[Operation]) -> DeadlineExceeded:
    if operation is None:
        return DeadlineExceeded(f"the call took longer than its deadline of {seconds:g} s")
    last = "" if operation.last_error is None else f"; the last try of it failed with: {operation.last_error}"
    said = f"{operation.name} took longer than its deadline of {seconds:g} s{last}"
    if operation.kind is OperationKind.READ:
        return DeadlineExceeded(f"{said}; try again, or allow it more with call_deadline()")
    if operation.operation_id is None:
        return DeadlineExceeded(f"{said}; all was written, or nothing: read before writing again")
    return DeadlineExceeded(
        f"{said}; all was written, or nothing: ask again under operation id {operation.operation_id}"
    )


def _check(seconds: object) -> None:
    # A bool is an int to Python, and NaN is never in a range.
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, (int, float))
        or not 0 < seconds <= LONGEST_DEADLINE
    ):
        raise InvalidInput(
            f"a deadline of {seconds!r:.40} cannot be kept; give seconds above 0, at most {LONGEST_DEADLINE:g}"
        )
