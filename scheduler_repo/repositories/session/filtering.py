"""What a search of sessions asks for: a typed filter, and an order."""

import enum
from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.errors import InvalidFilter
from scheduler_repo.quoting import quoted
from scheduler_repo.repositories.filtering import SearchFilter
from scheduler_repo.types import (
    AccessKey,
    DomainName,
    ProjectId,
    ScalingGroupName,
    SessionStatus,
    SessionType,
    UserId,
)


class SessionOrder(enum.StrEnum):
    """In which order a search answers: by creation time, then id."""

    NEWEST_FIRST = "NEWEST_FIRST"
    OLDEST_FIRST = "OLDEST_FIRST"


class SessionFilter(SearchFilter, frozen=True, kw_only=True):
    """Which sessions a search is for; what is None does not matter, all else must be so.

    ``name`` is the whole name. ``statuses`` are any of these. ``created_from`` is included, ``created_until``
    is not; both carry a time zone. Raises InvalidFilter for a value that its field cannot have.
    """

    scaling_group: Optional[ScalingGroupName] = None
    access_key: Optional[AccessKey] = None
    user_id: Optional[UserId] = None
    project_id: Optional[ProjectId] = None
    domain_name: Optional[DomainName] = None
    statuses: Optional[tuple[SessionStatus, ...]] = None
    session_type: Optional[SessionType] = None
    name: Optional[str] = None
    created_from: Optional[datetime] = None
    created_until: Optional[datetime] = None


class SessionQuestion(msgspec.Struct, frozen=True):
    """What a search is asked, whatever the page; a cursor belongs to one."""

    wanted: SessionFilter
    order: SessionOrder


def check_order(order: object) -> None:
    """Raise InvalidFilter for what is no SessionOrder."""
    if not isinstance(order, SessionOrder):
        raise InvalidFilter(f"order {quoted(order)} is none; give a SessionOrder: {', '.join(SessionOrder)}")
