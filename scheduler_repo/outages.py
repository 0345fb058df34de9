"""What fails again and again is said once when it begins, and once when it is over."""

import logging
import traceback
from pathlib import Path
from time import monotonic
from typing import Optional

from scheduler_repo.errors import (
    DatabaseExhausted,
    DatabaseReadOnly,
    DatabaseTimeout,
    DatabaseUnavailable,
    SchedulerRepoError,
    TransactionConflict,
)
from scheduler_repo.quoting import shortened

# What an operator, or the server itself, mends in a while.
PASSING = (DatabaseUnavailable, DatabaseExhausted, DatabaseReadOnly, TransactionConflict)

_LONGEST = 1_000


class Outage:
    """The failures of one thing that is tried again and again, from the first to the next success."""

    def __init__(self, logger: logging.Logger, subject: str) -> None:
        """Log to ``logger``; ``subject`` says what fails, as in "the ticks of scaling group gpu"."""
        self._logger = logger
        self._subject = subject
        self._began = 0.0
        self._said: set[str] = set()
        self.failures = 0
        self.last_error: Optional[str] = None

    def begin(self, error: BaseException) -> None:
        """Note a failure; it is logged if it is the first, or one of another kind than all before it."""
        if not self.failures:
            self._began = monotonic()
        self.failures += 1
        self.last_error = describe_failure(error)
        kind = _kind_of(error)
        if kind in self._said:
            self._logger.debug("%s failed again: %s", self._subject, self.last_error)
            return
        self._said.add(kind)
        self._logger.warning("%s failed, and goes on being tried: %s", self._subject, self.last_error)

    def end(self) -> None:
        """Note a success; it is logged if something had failed."""
        if not self.failures:
            return
        self._logger.info(
            "%s succeeded again, after %d failures in %.1f s",
            self._subject,
            self.failures,
            monotonic() - self._began,
        )
        self.failures = 0
        self.last_error = None
        self._said.clear()


def describe_failure(error: BaseException) -> str:
    """Write what failed on one line; what is no error of this package has its class, and where it arose."""
    if isinstance(error, SchedulerRepoError):
        return shortened(error, _LONGEST)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    said = f": {error}" if str(error) else ""
    return shortened(f"{type(error).__name__}{said}{where}", _LONGEST)


def _kind_of(error: BaseException) -> str:
    # A server that goes and comes back fails in many ways, which are one outage.
    if isinstance(error, (*PASSING, DatabaseTimeout)):
        return "database"
    return type(error).__name__
