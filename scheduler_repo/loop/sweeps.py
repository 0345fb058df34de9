"""How often a loop makes each of its sweeps, and when each is due."""

import enum
from collections.abc import Mapping
from typing import Final, Optional

import msgspec

from scheduler_repo.entities.lifecycle import LostSessionAction
from scheduler_repo.errors import InvalidSettings
from scheduler_repo.validation import Seconds, check_kind, check_range

# So soon again where a sweep took as many as it may at once.
_SOON: Final = 1.0
# An agent is looked at so many times before it may be lost, so that it is known that the database was there.
_LOOKS: Final = 3


class Sweep(enum.StrEnum):
    """The sweeps of a loop."""

    LOST_AGENTS = "lost_agents"
    LOST_SESSIONS = "lost_sessions"
    PENDING_TIMEOUTS = "pending_timeouts"
    COMPARE = "compare"
    FOLD = "fold"
    TRIM = "trim"
    AUDIT = "audit"


# These take a while, and nothing waits for them when a process starts.
_AFTER_A_WHILE: Final = (Sweep.COMPARE, Sweep.AUDIT)


class Sweeps(msgspec.Struct, frozen=True, kw_only=True):
    """How often each sweep is made, in seconds; None switches one off.

    Agents that were silent for ``longest_silence`` seconds are marked as lost. Without it none is: agents that
    send no heartbeats to this database must not be. Sessions on lost agents go where ``recovery`` says.
    """

    longest_silence: Optional[float] = None
    lost_agents_every: Optional[float] = 5.0
    recovery: LostSessionAction = LostSessionAction.REQUEUE
    recovery_every: Optional[float] = 5.0
    pending_every: Optional[float] = 10.0
    compare_every: Optional[float] = 600.0
    fold_every: Optional[float] = 1.0
    trim_every: Optional[float] = 60.0
    audit_every: Optional[float] = 600.0

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if field != "recovery" and value is not None:
                check_range(value, Seconds, f"Sweeps.{field}", InvalidSettings)
        check_kind(self.recovery, LostSessionAction, "Sweeps.recovery", InvalidSettings)
        if self.longest_silence is None or self.lost_agents_every is None:
            return
        if self.longest_silence < _LOOKS * self.lost_agents_every:
            raise InvalidSettings(
                f"Sweeps.longest_silence is {self.longest_silence:g}, below {_LOOKS} times lost_agents_every; "
                f"give at least {_LOOKS * self.lost_agents_every:g}, or a smaller lost_agents_every"
            )

    def of_a_group(self) -> dict[Sweep, Optional[float]]:
        """The intervals of the sweeps that are made for each group."""
        return {
            Sweep.LOST_AGENTS: None if self.longest_silence is None else self.lost_agents_every,
            Sweep.LOST_SESSIONS: self.recovery_every,
            Sweep.PENDING_TIMEOUTS: self.pending_every,
            Sweep.COMPARE: self.compare_every,
        }

    def of_the_database(self) -> dict[Sweep, Optional[float]]:
        """The intervals of the sweeps that one leader makes for the whole database."""
        return {Sweep.FOLD: self.fold_every, Sweep.TRIM: self.trim_every, Sweep.AUDIT: self.audit_every}


class Schedule:
    """When each sweep is due, by a clock that its caller reads."""

    def __init__(self, every: Mapping[Sweep, Optional[float]], now: float) -> None:
        """Have each made at once, audits and comparisons after their interval."""
        self._every = {sweep: seconds for sweep, seconds in every.items() if seconds is not None}
        self._due = {
            sweep: now + (seconds if sweep in _AFTER_A_WHILE else 0.0) for sweep, seconds in self._every.items()
        }

    def take_due(self, now: float) -> list[Sweep]:
        """Return the sweeps that are due, each of which is due again an interval from now."""
        due = [sweep for sweep, at in self._due.items() if at <= now]
        for sweep in due:
            self._due[sweep] = now + self._every[sweep]
        return due

    def repeat_soon(self, sweep: Sweep, now: float) -> None:
        """Have a sweep made again soon, as it left something."""
        self._due[sweep] = min(self._due[sweep], now + _SOON)

    def next_due(self, now: float, longest: float) -> float:
        """How many seconds to wait for the next that is due, ``longest`` at most."""
        return min([longest, *(max(at - now, 0.0) for at in self._due.values())])


class Reach:
    """Since when the database could be reached without a gap, as far as somebody looked."""

    def __init__(self, longest_gap: float) -> None:
        self._longest_gap = longest_gap
        self._since: Optional[float] = None
        self._last = 0.0

    def note(self, *, is_reached: bool, now: float) -> None:
        """Note how a look at the database went."""
        if not is_reached:
            self._since = None
        elif self._since is None or now - self._last > self._longest_gap:
            self._since = now
        self._last = now

    def has_lasted(self, seconds: float, now: float) -> bool:
        """Whether it could be reached for so long, up to now."""
        return (
            self._since is not None and now - self._last <= self._longest_gap and now - self._since >= seconds
        )
