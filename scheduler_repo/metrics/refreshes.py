"""The metrics of refreshes: what was brought up to date, what was read anew and why, and what was compared."""

from typing import Final

from prometheus_client import Counter

from scheduler_repo.entities.snapshot_changes import Refresh
from scheduler_repo.entities.snapshot_comparison import ComparisonOutcome
from scheduler_repo.types import ScalingGroupName

REFRESHES: Final = Counter(
    "scheduler_repo_snapshot_refresh_count",
    "Answers of a snapshot tracker, by what they came from: changes, unchanged, a base, or a full read and why",
    ["scaling_group", "answer", "reason"],
)
COMPARISONS: Final = Counter(
    "scheduler_repo_snapshot_comparison_count",
    "Answers held by a snapshot tracker that were compared with a full read of the same snapshot, by outcome",
    ["scaling_group", "outcome"],
)


def count_refresh(scaling_group: ScalingGroupName, refresh: Refresh) -> None:
    """Count one answer of a tracker."""
    if refresh.reason is not None:
        REFRESHES.labels(scaling_group, "full", refresh.reason.value).inc()
    else:
        REFRESHES.labels(scaling_group, "changes" if refresh.changes else "unchanged", "").inc()


def count_beginning(scaling_group: ScalingGroupName) -> None:
    """Count one answer of a tracker that had nothing, from the base in Redis and what has changed since."""
    REFRESHES.labels(scaling_group, "base", "").inc()


def count_comparison(scaling_group: ScalingGroupName, outcome: ComparisonOutcome) -> None:
    """Count one comparison of what a tracker holds."""
    COMPARISONS.labels(scaling_group, outcome.value).inc()
