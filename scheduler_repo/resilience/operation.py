"""What policies know of the call that they surround: its name and kind, and what became of it so far."""

import enum
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from typing import Optional

from scheduler_repo.types import OperationId


class OperationKind(enum.StrEnum):
    """What it means to do a call again."""

    # Nothing is changed: again is always safe.
    READ = "read"
    # Doing it twice is doing it once: again is safe even where the first try may have been committed.
    IDEMPOTENT_WRITE = "idempotent_write"
    # Again only where the first try surely was not committed.
    WRITE = "write"


class Operation:
    """One call in progress: ``name`` is the method's; the rest is for the policies around it.

    What is told to a call inside another, as of a source inside its repository's, is told to the outer one too.
    """

    __slots__ = ("_outer", "_retry_observer", "kind", "last_error", "name", "operation_id")

    def __init__(self, name: str, kind: OperationKind, outer: Optional["Operation"] = None) -> None:
        """Take the method's name, what doing it again means, and the call that this one is inside of."""
        self.name = name
        self.kind = kind
        self.last_error: Optional[Exception] = None
        self.operation_id: Optional[OperationId] = None
        self._outer = outer
        self._retry_observer: Optional[Callable[[], None]] = None

    def on_retry(self, observer: Callable[[], None]) -> None:
        """Have ``observer`` called at each retry of this call from now on."""
        self._retry_observer = observer

    def retried(self) -> None:
        """Say that this call is made again now."""
        if self._retry_observer is not None:
            self._retry_observer()

    def failed_with(self, error: Exception) -> None:
        """Say what a try failed with that is to be followed by another."""
        for operation in self._and_outer():
            operation.last_error = error

    def writes_under(self, operation_id: OperationId) -> None:
        """Say under which operation id this call writes."""
        for operation in self._and_outer():
            operation.operation_id = operation_id

    def _and_outer(self) -> Iterator["Operation"]:
        operation: Optional[Operation] = self
        while operation is not None:
            yield operation
            operation = operation._outer


_current: ContextVar[Optional[Operation]] = ContextVar("scheduler_repo_operation", default=None)


def current_operation() -> Optional[Operation]:
    """Return the innermost call with resilience that this task is in; None outside of any."""
    return _current.get()


def enter(name: str, kind: OperationKind) -> Token[Optional[Operation]]:
    """Make a call the current one; give ``leave`` the token that is returned."""
    return _current.set(Operation(name, kind, _current.get()))


def leave(token: Token[Optional[Operation]]) -> None:
    """Make the call around it the current one again."""
    _current.reset(token)
