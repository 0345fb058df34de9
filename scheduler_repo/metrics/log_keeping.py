"""The metrics of keeping the logs of changes short: what was folded and trimmed, and what failed."""

import enum
from typing import Final

from prometheus_client import Counter


class KeepingOutcome(enum.StrEnum):
    """The outcome of one attempt to fold and trim logs that were found long."""

    DONE = "done"
    # Another process was just at it.
    BUSY = "busy"
    FAILED = "failed"
    # The repositories were closed first.
    CANCELLED = "cancelled"


KEEPINGS: Final = Counter(
    "scheduler_repo_log_keeping_count",
    "How often this process found the logs of changes long and set out to fold and trim them, by outcome",
    ["outcome"],
)
KEPT_ROWS: Final = Counter(
    "scheduler_repo_log_keeping_rows",
    "Rows of the logs of changes that this process has folded and trimmed beside its other work",
    ["outcome"],
)


def count_keeping(outcome: KeepingOutcome) -> None:
    """Count how one time has ended."""
    KEEPINGS.labels(outcome.value).inc()


def count_kept(*, folded: int = 0, trimmed: int = 0) -> None:
    """Count rows that were folded or trimmed."""
    KEPT_ROWS.labels("folded").inc(folded)
    KEPT_ROWS.labels("trimmed").inc(trimmed)
