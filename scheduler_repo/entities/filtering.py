"""Filters of searches: structs of optional fields, checked where they are made."""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Optional, Self, TypeVar

import msgspec

from scheduler_repo.errors import InvalidFilter
from scheduler_repo.quoting import printable, quoted
from scheduler_repo.validation import (
    FieldKind,
    check_kind,
    check_text,
    check_time,
    expected_of,
    field_kinds,
    wrong_value,
)

_LONGEST_REASON = 300


class SearchFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of all filters: None matches anything; every other field must match.

    Of a tuple, one value must match. Raises InvalidFilter for a value that its field cannot have.
    """

    def __post_init__(self) -> None:
        for name, kind in field_kinds(type(self)).items():
            value = getattr(self, name)
            if value is not None:
                _check(value, f"{type(self).__name__}.{name}", kind)

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> Self:
        """Build a filter from words by field, as an API gets them: ids and statuses as text, times as ISO 8601.

        Raises InvalidFilter for a field that does not exist and for a value that its field cannot have.
        """
        check_kind(fields, Mapping, "the filter", InvalidFilter)
        try:
            return msgspec.convert(dict(fields), cls)
        except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as error:
            known = ", ".join(_described(name, kind) for name, kind in field_kinds(cls).items())
            raise InvalidFilter(
                f"{cls.__name__}: {printable(str(error)):.{_LONGEST_REASON}}; its fields are {known}"
            ) from None

    def in_one_spelling(self) -> Self:
        """Return the filter in one form for all that find the same: tuples in order, nothing twice."""
        tuples = {name: getattr(self, name) for name, kind in field_kinds(type(self)).items() if kind.is_tuple}
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


def _check(value: object, subject: str, kind: FieldKind) -> None:
    if not kind.is_tuple:
        _check_one(value, subject, kind)
    elif not isinstance(value, tuple):
        raise wrong_value(value, subject, f"a tuple, each of it {expected_of(kind.of)}", InvalidFilter)
    elif not value:
        raise InvalidFilter(f"{subject} is empty, and nothing could be found; leave it out to find all")
    else:
        for each in value:
            _check_one(each, subject, kind)


def _check_one(value: object, subject: str, kind: FieldKind) -> None:
    if kind.of is datetime:
        check_time(value, subject, InvalidFilter)
    elif kind.of is str:
        check_text(value, subject, InvalidFilter)
    else:
        check_kind(value, kind.of, subject, InvalidFilter)


def _described(name: str, kind: FieldKind) -> str:
    """Name a field, and the words that it takes."""
    return f"{name} ({', '.join(kind.of)})" if issubclass(kind.of, enum.StrEnum) else name
