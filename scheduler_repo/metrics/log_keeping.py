"""The metrics of keeping the logs of changes short: what was folded and trimmed, what failed, what is there."""

import enum
from collections.abc import Callable
from typing import Final, Optional

from prometheus_client import Counter

from scheduler_repo.entities.audit import AuditReport
from scheduler_repo.metrics.led_gauge import LedGauge


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
LOG_ROWS: Final = LedGauge(
    "scheduler_repo_log_rows",
    "Rows of the logs of changes that the last audit found: of changes, of usage, and those of usage that are "
    "not folded (unfolded)",
    ["log"],
)
KEPT_AGE: Final = LedGauge(
    "scheduler_repo_log_kept_age_sec",
    "How long before the last audit the log of usage was last folded, and trimming last moved on (changes), in "
    "seconds",
    ["log"],
)


def show_logs(report: AuditReport, leads: Optional[Callable[[], bool]] = None) -> None:
    """Show how long an audit found the logs, for as long as its process ``leads``."""
    logs = report.logs
    for log, rows in (
        ("changes", logs.change_rows),
        ("usage", logs.usage_rows),
        ("unfolded", logs.unfolded_rows),
    ):
        LOG_ROWS.show((log,), rows, leads)
    for log, kept_at in (("changes", logs.trimmed_at), ("usage", logs.folded_at)):
        KEPT_AGE.show((log,), (report.observed_at - kept_at).total_seconds(), leads)


def count_keeping(outcome: KeepingOutcome) -> None:
    """Count how one time has ended."""
    KEEPINGS.labels(outcome.value).inc()


def count_kept(*, folded: int = 0, trimmed: int = 0) -> None:
    """Count rows that were folded or trimmed."""
    KEPT_ROWS.labels("folded").inc(folded)
    KEPT_ROWS.labels("trimmed").inc(trimmed)
