"""The metrics of the loop: what ticks of each scaling group found and did, where their time went, and audits.

Labels are scaling groups, phases and codes, of which there are few; never the id of a session, agent or owner.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Optional

from prometheus_client import Counter, Histogram

from scheduler_repo.entities.allocation import RejectedAllocation
from scheduler_repo.entities.audit import AuditCheck, AuditReport
from scheduler_repo.entities.snapshot_comparison import ComparisonOutcome
from scheduler_repo.metrics.led_gauge import LedGauge
from scheduler_repo.metrics.log_keeping import show_logs
from scheduler_repo.scheduling.planner.protocol import IncrementalPlan
from scheduler_repo.types import ScalingGroupName

# The client library ends a counter's name in _total when it is scraped.
TICKS: Final = Counter(
    "scheduler_repo_ticks", "Ticks that have ended, and whether without an error", ["scaling_group", "success"]
)
PHASES: Final = Histogram(
    "scheduler_repo_tick_phase_duration_sec",
    "How long each phase of a tick took, in seconds: read, transform, plan, write; of ticks without an error",
    ["scaling_group", "phase"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
PENDING: Final = LedGauge(
    "scheduler_repo_pending_sessions", "Sessions that the last tick found waiting", ["scaling_group"]
)
ALLOCATED: Final = Counter(
    "scheduler_repo_allocated_sessions", "Sessions that ticks have placed", ["scaling_group"]
)
REJECTED: Final = Counter(
    "scheduler_repo_rejected_sessions",
    "Planned sessions that the database did not let ticks place, by the code of the reason",
    ["scaling_group", "code"],
)
PLANS: Final = Counter(
    "scheduler_repo_plan_count",
    "Plans of planners that take what has changed, by what they were made from: changes, changes with the "
    "capacity indexed again (reindexed), or everything (full) and its reason",
    ["scaling_group", "answer", "reason"],
)
PLAN_COMPARISONS: Final = Counter(
    "scheduler_repo_plan_comparison_count",
    "Plans made from what has changed that were compared with a plan made from everything, by outcome",
    ["scaling_group", "outcome"],
)
AUDIT_FINDINGS: Final = LedGauge(
    "scheduler_repo_audit_findings",
    "What the last audit found to differ, by check; 0 is as it should be",
    ["check"],
)


@contextmanager
def count_tick(scaling_group: ScalingGroupName) -> Iterator[None]:
    """Count the tick that runs inside the block; one that is cancelled counts as failed."""
    success = "false"
    try:
        yield
        success = "true"
    finally:
        TICKS.labels(scaling_group, success).inc()


def show_pending(
    scaling_group: ScalingGroupName, sessions: int, leads: Optional[Callable[[], bool]] = None
) -> None:
    """Show how many sessions a tick found waiting, for as long as its process ``leads``."""
    PENDING.show((scaling_group,), sessions, leads)


def count_batch(
    scaling_group: ScalingGroupName, allocated: int, rejected: Sequence[RejectedAllocation]
) -> None:
    """Count the sessions of one written batch; a tick that fails later leaves them written, and counted."""
    ALLOCATED.labels(scaling_group).inc(allocated)
    for rejection in rejected:
        REJECTED.labels(scaling_group, rejection.code.value).inc()


def count_plan(scaling_group: ScalingGroupName, plan: IncrementalPlan) -> None:
    """Count one plan of a planner that takes what has changed."""
    if plan.reason is not None:
        PLANS.labels(scaling_group, "full", plan.reason.value).inc()
    else:
        PLANS.labels(scaling_group, "reindexed" if plan.is_reindexed else "changes", "").inc()


def count_plan_comparison(scaling_group: ScalingGroupName, outcome: ComparisonOutcome) -> None:
    """Count one comparison of a plan made from what has changed."""
    PLAN_COMPARISONS.labels(scaling_group, outcome.value).inc()


def observe_phase(scaling_group: ScalingGroupName, phase: str, seconds: float) -> None:
    """Add the time that one phase of a tick took."""
    PHASES.labels(scaling_group, phase).observe(seconds)


def show_audit(report: AuditReport, leads: Optional[Callable[[], bool]] = None) -> None:
    """Show what an audit found, by check and of the logs, for as long as its process ``leads``."""
    found = collections.Counter(finding.check for finding in report.findings)
    for check in AuditCheck:
        AUDIT_FINDINGS.show((check.value,), found[check], leads)
    show_logs(report, leads)
