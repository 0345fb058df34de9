"""The state of a loop that runs, as probes and dashboards ask for it."""

import enum
from datetime import datetime
from typing import Optional, Self

import msgspec

from scheduler_repo.types import ScalingGroupName


class LoopPhase(enum.StrEnum):
    """The phases of a loop that runs."""

    STARTING = "starting"  # it has not run yet, or has not reached the database
    WAITING = "waiting"  # another process leads the group
    LEADING = "leading"
    BACKING_OFF = "backing_off"  # something failed, and is tried again after a while
    STOPPED = "stopped"


class LoopState(msgspec.Struct, frozen=True):
    """The state of a loop at one moment; the errors are those in a row, 0 when the last try went well.

    ``last_tick_at`` is when a tick last went well, by this process's clock, in UTC; ``last_error`` is the one
    line of a failure that is not over yet. ``idle_for`` is how many seconds the loop has made no step,
    ``may_idle_for`` how many it may without being stuck.
    """

    scaling_group: ScalingGroupName
    phase: LoopPhase
    ticks: int
    last_tick_at: Optional[datetime]
    consecutive_errors: int
    last_error: Optional[str]
    dispatch_errors: int
    sweep_errors: int
    idle_for: float
    may_idle_for: float

    @classmethod
    def before_run(cls, scaling_group: ScalingGroupName) -> Self:
        """Build the state of a loop that was never run."""
        return cls(scaling_group, LoopPhase.STARTING, 0, None, 0, None, 0, 0, 0.0, 0.0)

    @property
    def is_ready(self) -> bool:
        """Whether the loop leads, or waits to, and nothing hinders its ticks: for a readiness probe."""
        return self.phase in (LoopPhase.LEADING, LoopPhase.WAITING) and not self.consecutive_errors

    @property
    def is_alive(self) -> bool:
        """Whether the loop makes steps: for a liveness probe, which restarts what is stuck."""
        return self.phase is LoopPhase.STOPPED or self.idle_for <= self.may_idle_for
