"""What searches are narrowed by: structs of optional fields, checked where they are made."""

import enum
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from types import NoneType
from typing import NamedTuple, NewType, Optional, Self, TypeVar, get_args, get_origin
from uuid import UUID

import msgspec

from scheduler_repo.errors import InvalidFilter, InvalidInput
from scheduler_repo.quoting import printable, quoted
from scheduler_repo.validation import check_text

_LONGEST_REASON = 300


class SearchFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields by which one kind of search is narrowed: all that are given must hold, None: not asked.

    A tuple is of those of which one must be so. Raises InvalidFilter for a value that its field cannot have.
    """

    def __post_init__(self) -> None:
        for name, kind in _kinds_of(type(self)).items():
            value = getattr(self, name)
            if value is not None:
                kind.check(f"{type(self).__name__}.{name}", value)

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> Self:
        """Make a filter of words by field, as an API gets them: ids and statuses as text, times as ISO 8601.

        Raises InvalidFilter for a field that does not exist and for a value that its field cannot have.
        """
        given: object = fields
        if not isinstance(given, Mapping):
            raise InvalidFilter(
                f"{quoted(given)} is a {type(given).__name__}; give a mapping of fields to values"
            )
        try:
            return msgspec.convert(dict(given), cls)
        except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as error:
            known = ", ".join(kind.described(name) for name, kind in _kinds_of(cls).items())
            raise InvalidFilter(
                f"{cls.__name__}: {printable(str(error)):.{_LONGEST_REASON}}; its fields are {known}"
            ) from None

    def in_one_spelling(self) -> Self:
        """Return the filter as all that ask for the same are: what is in a tuple is ordered, and there once."""
        tuples = {name: getattr(self, name) for name, kind in _kinds_of(type(self)).items() if kind.is_tuple}
        return msgspec.structs.replace(
            self, **{name: tuple(sorted(set(given))) for name, given in tuples.items() if given is not None}
        )


FilterT = TypeVar("FilterT", bound=SearchFilter)


def checked_filter(wanted: Optional[object], kind: type[FilterT]) -> FilterT:
    """Return the filter, one that finds all for None; raises InvalidFilter for what is none of the kind."""
    if wanted is None:
        return kind()
    if not isinstance(wanted, kind):
        raise InvalidFilter(
            f"the filter is {quoted(wanted)}, of type {type(wanted).__name__}; make one with "
            f"{kind.__name__}() or {kind.__name__}.of(), or give None for all"
        )
    return wanted


def check_time(subject: str, value: object) -> None:
    """Raise InvalidFilter for what is no datetime with a time zone; ``subject`` is named."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise _wrong(subject, value, "a datetime with a time zone")
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise _wrong(subject, value, "a datetime that exists in UTC") from None


class _Kind(NamedTuple):
    """What one field of a filter is: a value of a type, or a tuple of such."""

    of: type
    is_tuple: bool

    def check(self, subject: str, value: object) -> None:
        """Raise InvalidFilter for what the field cannot be."""
        if not self.is_tuple:
            self._check_one(subject, value)
        elif not isinstance(value, tuple):
            raise _wrong(subject, value, f"a tuple of one or more of {self._words()}")
        elif not value:
            raise InvalidFilter(f"{subject} is empty, and nothing could be found; leave it out to find all")
        else:
            for each in value:
                self._check_one(subject, each)

    def described(self, name: str) -> str:
        """The field's name, and which words it takes."""
        return f"{name} ({self._words()})" if issubclass(self.of, enum.Enum) else name

    def _check_one(self, subject: str, value: object) -> None:
        if self.of is datetime:
            check_time(subject, value)
        elif self.of is str:
            try:
                check_text(value, subject)
            except InvalidInput as error:
                raise InvalidFilter(f"the filter cannot be used: {error}") from None
        elif not isinstance(value, self.of):
            raise _wrong(subject, value, self._words())

    def _words(self) -> str:
        if issubclass(self.of, enum.Enum):
            return ", ".join(str(member.value) for member in self.of)
        return {UUID: "a UUID", bool: "True or False"}.get(self.of, self.of.__name__)


@cache
def _kinds_of(cls: type[SearchFilter]) -> Mapping[str, _Kind]:
    return {field.name: _kind_of(field.type) for field in msgspec.structs.fields(cls)}


def _kind_of(optional: object) -> _Kind:
    (hint,) = (each for each in get_args(optional) if each is not NoneType)
    is_tuple = get_origin(hint) is tuple
    if is_tuple:
        hint = get_args(hint)[0]
    while isinstance(hint, NewType):
        hint = hint.__supertype__
    return _Kind(hint, is_tuple)


def _wrong(subject: str, value: object, expected: str) -> InvalidFilter:
    return InvalidFilter(f"{subject} is {quoted(value)}, it must be {expected}")
