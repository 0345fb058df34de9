"""The answer of a refresh: what has changed since the one before, or why all of it was read anew."""

import enum
from typing import Optional, Union

import msgspec

from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData
from scheduler_repo.entities.snapshot_token import SnapshotToken
from scheduler_repo.types import AccessKey, AgentId, DomainName, OwnerScope, ProjectId, SessionId, UserId

OwnerId = Union[AccessKey, UserId, ProjectId, DomainName]


class FullReadReason(enum.StrEnum):
    """Why everything was read: what was held could not be brought up to date, or not for less."""

    FIRST = "first"  # nothing was held
    NO_HISTORY = "no_history"  # one of the two reads has no history to follow
    OTHER_DATABASE = "other_database"  # another cluster, another database in it, or another schema
    OTHER_TIMELINE = "other_timeline"  # a standby was promoted, or a backup restored
    RESTARTED = "restarted"
    CRASHED = "crashed"  # what was committed last may be lost
    TRIGGERS_CHANGED = "triggers_changed"  # something may have been written while they were not as they are
    FUTURE = "future"  # what is held is newer than the database
    TRIMMED = "trimmed"  # the log does not go back that far
    EVERYTHING = "everything"  # a slot type has changed, a table was emptied, or the usage was counted anew
    PREEMPTION_CHANGED = "preemption_changed"
    UNREADABLE = "unreadable"  # rows with words of a newer version, then or now
    TOO_MANY = "too_many"  # a full read costs less
    DIFFERED = "differed"  # what was held was wrong, by a comparison or as changes did not fit it


class SnapshotChanges(msgspec.Struct, frozen=True):
    """The differences from the answer before; all else is the same objects.

    ``sessions`` are those that entered the queue that was read, left it or changed in it, ``candidates`` the
    same of the preemption candidates, ``owners`` those whose usage or limits differ, or that came or went.
    ``entered`` are those of ``sessions`` that are in the queue now, as they are there.
    """

    sessions: tuple[SessionId, ...] = ()
    entered: tuple[PendingSession, ...] = ()
    agents: tuple[AgentId, ...] = ()
    owners: tuple[tuple[OwnerScope, OwnerId], ...] = ()
    candidates: tuple[SessionId, ...] = ()
    reservations: bool = False
    scaling_group: bool = False

    def __bool__(self) -> bool:
        return self != NOTHING_CHANGED


NOTHING_CHANGED = SnapshotChanges()


class Refresh(msgspec.Struct, frozen=True):
    """A SchedulingData, and how it came about: ``reason`` is set where all of it was read anew.

    ``changes`` are those since the answer whose token is ``since``; None where they are not known, as after a
    full read. Seconds are those of the statements and of the transforms.
    """

    data: SchedulingData
    reason: Optional[FullReadReason]
    changes: Optional[SnapshotChanges]
    since: Optional[SnapshotToken]
    read_seconds: float
    transform_seconds: float
