"""The outcome of a comparison: a tracker's answer beside a full read of the same snapshot."""

import enum
from typing import Optional

import msgspec

from scheduler_repo.entities.snapshot_changes import FullReadReason


class ComparisonOutcome(enum.StrEnum):
    """How a comparison ended."""

    EQUAL = "equal"
    DIFFERENT = "different"  # the next answer is read anew
    NOT_COMPARED = "not_compared"  # nothing was held, or the next answer is a full read anyway
    FAILED = "failed"  # as without a database; the log says how


class SnapshotDifference(msgspec.Struct, frozen=True):
    """The first difference between two SchedulingData of one snapshot.

    ``field`` is the field of SchedulingData, ``item`` the id of the entity in it, ``part`` what differs in
    that; None where all of it does. ``held`` and ``read`` are the two values as Python writes them, cut short.
    """

    field: str
    item: Optional[str]
    part: Optional[str]
    held: str
    read: str

    def __str__(self) -> str:
        """Write the difference on one line."""
        place = self.field if self.item is None else f"{self.field}, {self.item}"
        part = "" if self.part is None else f": {self.part}"
        return f"{place}{part} is {self.held} as held, {self.read} as read"


class SnapshotComparison(msgspec.Struct, frozen=True):
    """The outcome of one comparison; ``reason`` says why the log could not tell what to compare."""

    outcome: ComparisonOutcome
    difference: Optional[SnapshotDifference] = None
    reason: Optional[FullReadReason] = None
