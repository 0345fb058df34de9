"""What a search of sessions asks for: typed filters and orders, checked where they are made."""

import enum
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Optional
from uuid import UUID

import msgspec

from scheduler_repo.errors import InvalidFilter, InvalidInput
from scheduler_repo.repositories.writing import check_text, printable
from scheduler_repo.types import (
    AccessKey,
    DomainName,
    ProjectId,
    ScalingGroupName,
    SessionStatus,
    SessionType,
    UserId,
)

_TEXTS: Final = ("scaling_group", "access_key", "domain_name", "name")
_IDS: Final = ("user_id", "project_id")
_TIMES: Final = ("created_from", "created_until")


class SessionOrder(enum.StrEnum):
    """In which order a search answers: by creation time, then id."""

    NEWEST_FIRST = "NEWEST_FIRST"
    OLDEST_FIRST = "OLDEST_FIRST"


class SessionFilter(msgspec.Struct, frozen=True, kw_only=True):
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

    def __post_init__(self) -> None:
        for field in _TEXTS:
            value = getattr(self, field)
            if value is not None:
                _check_text(field, value)
        for field in _IDS:
            value = getattr(self, field)
            if value is not None and not isinstance(value, UUID):
                raise _wrong(field, value, "a UUID")
        for field in _TIMES:
            value = getattr(self, field)
            if value is not None:
                check_time(field, value)
        if self.session_type is not None and not isinstance(self.session_type, SessionType):
            raise _wrong("session_type", self.session_type, f"one of {', '.join(SessionType)}")
        if self.statuses is not None:
            _check_statuses(self.statuses)

    @classmethod
    def from_fields(cls, fields: Mapping[str, object]) -> "SessionFilter":
        """Read a filter from words, as an API gets them: ids and statuses as text, times as ISO 8601, by name.

        Raises InvalidFilter for a field that does not exist and for a value that its field cannot have.
        """
        given: object = fields
        if not isinstance(given, Mapping):
            raise InvalidFilter(
                f"{given!r:.60} is a {type(given).__name__}; give a mapping of fields to values"
            )
        unknown = sorted(str(field) for field in fields if field not in cls.__struct_fields__)
        if unknown:
            raise InvalidFilter(
                f"sessions are not searched by {printable(', '.join(unknown))!r:.60}; the fields are "
                f"{', '.join(cls.__struct_fields__)}"
            )
        try:
            return msgspec.convert(dict(fields), cls)
        except msgspec.ValidationError as error:
            raise InvalidFilter(
                f"the filter cannot be read: {printable(str(error))}; statuses are {', '.join(SessionStatus)}, "
                f"session types {', '.join(SessionType)}, times ISO 8601"
            ) from None

    def in_one_spelling(self) -> "SessionFilter":
        """Return the filter as all that ask for the same are: statuses ordered, each once."""
        if self.statuses is None:
            return self
        return msgspec.structs.replace(self, statuses=tuple(sorted(set(self.statuses))))


def check_filter(session_filter: object, order: object) -> None:
    """Raise InvalidFilter for what is no SessionFilter, or no SessionOrder."""
    if not isinstance(session_filter, SessionFilter):
        raise InvalidFilter(
            f"{session_filter!r:.60} is a {type(session_filter).__name__}; give a SessionFilter, as made by "
            "SessionFilter.from_fields()"
        )
    if not isinstance(order, SessionOrder):
        raise InvalidFilter(f"order {order!r:.60} is none; give a SessionOrder: {', '.join(SessionOrder)}")


def _check_text(field: str, value: object) -> None:
    try:
        check_text(value, field)
    except InvalidInput as error:
        raise InvalidFilter(f"the filter cannot be used: {error}") from None


def check_time(field: str, value: object) -> None:
    """Raise InvalidFilter for what is no datetime with a time zone; ``field`` is named."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise _wrong(field, value, "a datetime with a time zone")
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise _wrong(field, value, "a datetime that exists in UTC") from None


def _check_statuses(statuses: object) -> None:
    if not isinstance(statuses, tuple) or not statuses:
        raise _wrong("statuses", statuses, "a tuple of one or more statuses, or None for all")
    for status in statuses:
        if not isinstance(status, SessionStatus):
            raise _wrong("statuses", status, f"of {', '.join(SessionStatus)}")


def _wrong(field: str, value: object, expected: str) -> InvalidFilter:
    return InvalidFilter(f"{field} is {value!a:.60}, it must be {expected}")


class SessionQuestion(msgspec.Struct, frozen=True):
    """What a search is asked, whatever the page; a cursor belongs to one."""

    session_filter: SessionFilter
    order: SessionOrder
