"""What policies know of the call that they surround: its name, its kind, and how it went so far."""

import enum
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Final, Optional

from scheduler_repo.types import OperationId


class OperationKind(enum.StrEnum):
    """Whether a call may be repeated."""

    # Nothing is changed: repeating it is always safe.
    READ = "read"
    # Doing it twice is doing it once: it may be repeated even where the first attempt may stand.
    IDEMPOTENT_WRITE = "idempotent_write"
    # It may be repeated only where the first attempt surely was not committed.
    WRITE = "write"


class Operation:
    """One call in progress: ``name`` is the method's; the rest is for the policies around it.

    What a call inside another notes, as one of a source inside its repository's, the outer one notes too.
    """

    __slots__ = ("_outer", "_retry_observer", "kind", "last_error", "name", "operation_id")

    def __init__(self, name: str, kind: OperationKind, outer: Optional["Operation"] = None) -> None:
        """``outer`` is the call that this one is made in."""
        self.name = name
        self.kind = kind
        # As text: the error itself holds what the failed attempt had read, for as long as any context has this.
        self.last_error: Optional[str] = None
        self.operation_id: Optional[OperationId] = None
        self._outer = outer
        self._retry_observer: Optional[Callable[[], None]] = None

    def observe_retries(self, observer: Callable[[], None]) -> None:
        """Call ``observer`` at each retry of this call from now on."""
        self._retry_observer = observer

    def note_retry(self) -> None:
        """Note that this call is repeated now."""
        if self._retry_observer is not None:
            self._retry_observer()

    def note_failure(self, error: Exception) -> None:
        """Note why an attempt failed that another one follows."""
        for operation in self._and_outer():
            operation.last_error = str(error)

    def note_operation_id(self, operation_id: OperationId) -> None:
        """Note under which operation id this call writes."""
        for operation in self._and_outer():
            operation.operation_id = operation_id

    def _and_outer(self) -> Iterator["Operation"]:
        operation: Optional[Operation] = self
        while operation is not None:
            yield operation
            operation = operation._outer


CURRENT: Final[ContextVar[Optional[Operation]]] = ContextVar("scheduler_repo_operation", default=None)


def current_operation() -> Optional[Operation]:
    """Return the innermost call with resilience that this task is in; None outside of any."""
    return CURRENT.get()
