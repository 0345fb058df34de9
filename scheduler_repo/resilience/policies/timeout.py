"""One deadline for a public call, with everything in it: waiting for a connection, statements, retries."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Optional, TypeVar

import msgspec

from scheduler_repo.errors import DeadlineExceeded
from scheduler_repo.resilience.operation import Operation, OperationKind, current_operation
from scheduler_repo.resilience.resilience import Policy
from scheduler_repo.validation import Seconds, check_fields, check_range
from scheduler_repo.wiring import check_wiring

R = TypeVar("R")

# Longer than a write asks after a lost COMMIT by default (30 s).
DEFAULT_DEADLINE = 60.0


class TimeoutArgs(msgspec.Struct, frozen=True, kw_only=True):
    """How long a call may take, in seconds, unless ``call_deadline`` says otherwise."""

    deadline: Seconds = DEFAULT_DEADLINE

    def __post_init__(self) -> None:
        check_fields(self)


_wanted: ContextVar[Optional[float]] = ContextVar("scheduler_repo_wanted_deadline", default=None)


class _Bound:
    """The deadline of a call in progress, and the task that it ends."""

    __slots__ = ("ends_at", "is_over", "seconds", "task")

    def __init__(self, seconds: float, ends_at: float) -> None:
        self.seconds = seconds
        self.ends_at = ends_at
        self.task: Optional[asyncio.Task[object]] = asyncio.current_task()
        self.is_over = False

    def end(self) -> None:
        """Let go of the task: a connection that the call has opened keeps the call's context, and so this."""
        self.is_over = True
        self.task = None


_bound: ContextVar[Optional[_Bound]] = ContextVar("scheduler_repo_bound", default=None)


@contextmanager
def call_deadline(seconds: float) -> Iterator[None]:
    """Give each public call that begins inside the block ``seconds`` instead of its own deadline.

    A call inside another keeps to the deadline of the outer one, also in a task that the outer one has made.
    Raises InvalidInput for what is not above 0 and at most a day.
    """
    check_range(seconds, Seconds, "deadline")
    token = _wanted.set(seconds)
    try:
        yield
    finally:
        _wanted.reset(token)


class TimeoutPolicy(Policy):
    """Ends a call at its deadline with DeadlineExceeded; inside a call that has one already, that one holds."""

    def __init__(self, args: Optional[TimeoutArgs] = None) -> None:
        """Allow 60 seconds unless ``args`` says otherwise; raises InvalidWiring for anything else."""
        self._args = TimeoutArgs() if args is None else args
        check_wiring(self._args, TimeoutArgs, "args", "TimeoutArgs(...), or None for the default")

    async def execute(self, call: Callable[[], Awaitable[R]]) -> R:
        # A task that a call has made knows of the call's deadline even when the call is over.
        outer = _bound.get()
        if outer is None or outer.is_over:
            wanted = _wanted.get()
            seconds = self._args.deadline if wanted is None else wanted
            bound = _Bound(seconds, asyncio.get_running_loop().time() + seconds)
        elif outer.task is asyncio.current_task():
            return await call()
        else:
            bound = _Bound(outer.seconds, outer.ends_at)
        token = _bound.set(bound)
        timeout = asyncio.timeout_at(bound.ends_at)
        try:
            async with timeout:
                return await call()
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise _build_error(bound.seconds, current_operation()) from error
        finally:
            bound.end()
            _bound.reset(token)


def _build_error(seconds: float, operation: Optional[Operation]) -> DeadlineExceeded:
    if operation is None:
        return DeadlineExceeded(f"the call took longer than its deadline of {seconds:g} s")
    last = "" if operation.last_error is None else f"; the last try of it failed with: {operation.last_error}"
    found = f"{operation.name} took longer than its deadline of {seconds:g} s{last}"
    if operation.kind is OperationKind.READ:
        return DeadlineExceeded(f"{found}; try again, or allow it more with call_deadline()")
    known = operation.operation_id
    advice = "read before writing again" if known is None else f"ask again under operation id {known}"
    return DeadlineExceeded(f"{found}; all was written, or nothing: {advice}", operation_id=known)
