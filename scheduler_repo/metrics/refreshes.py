"""The metrics of refreshes: how often what was held was brought up to date, and why it was read anew."""

from typing import Final

from prometheus_client import Counter

from scheduler_repo.entities.snapshot_changes import Refresh
from scheduler_repo.types import ScalingGroupName

REFRESHES: Final = Counter(
    "scheduler_repo_snapshot_refresh_count",
    "Answers of a snapshot tracker, by what they came from: changes, unchanged, or a full read and its reason",
    ["scaling_group", "answer", "reason"],
)


def count_refresh(scaling_group: ScalingGroupName, refresh: Refresh) -> None:
    """Count one answer of a tracker."""
    if refresh.reason is not None:
        REFRESHES.labels(scaling_group, "full", refresh.reason.value).inc()
    else:
        REFRESHES.labels(scaling_group, "changes" if refresh.changes else "unchanged", "").inc()
