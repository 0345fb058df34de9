"""The bases of what callers give, specs and filters: frozen structs that are checked where they are made."""

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from types import NoneType
from typing import Final, NamedTuple, Optional, Self, TypeVar, Union, get_args, get_origin

import msgspec

from scheduler_repo.errors import InvalidFilter
from scheduler_repo.quoting import printable, quoted
from scheduler_repo.validation import check_kind, check_text, check_time, expected_of, wrong_value

_LONGEST_REASON: Final = 300
# The values that leave a field out, by the types that allow them.
_BLANKS: Final[Mapping[object, object]] = {NoneType: None, msgspec.UnsetType: msgspec.UNSET}
# The kinds of fields in which a mistake would fail far from where it was made: a string for a tuple would be
# taken apart by letters, a word for an enum has no ``value``.
_STRICT_KINDS: Final = (tuple, bool, timedelta, enum.Enum)


class _FieldKind(NamedTuple):
    """The kind of a field, as its annotation says: a value of the class ``of``, or a tuple of such."""

    of: type
    is_tuple: bool
    blanks: tuple[object, ...]


@cache
def _field_kinds(cls: type[msgspec.Struct]) -> Mapping[str, _FieldKind]:
    return {field.name: _read_kind(field.type) for field in msgspec.structs.fields(cls)}


def _read_kind(annotation: object) -> _FieldKind:
    parts = get_args(annotation) if get_origin(annotation) is Union else (annotation,)
    kinds = [part for part in parts if part not in _BLANKS]
    is_tuple = get_origin(kinds[0]) is tuple
    kind = get_args(kinds[0])[0] if is_tuple else kinds[0]
    kind = getattr(kind, "__supertype__", kind)  # of a NewType
    blanks = tuple(_BLANKS[part] for part in parts if part in _BLANKS)
    return _FieldKind(kind if len(kinds) == 1 and isinstance(kind, type) else object, is_tuple, blanks)


@cache
def _strict_fields(cls: type[msgspec.Struct]) -> Sequence[tuple[str, type, tuple[object, ...]]]:
    kinds = [
        (name, tuple if each.is_tuple else each.of, each.blanks) for name, each in _field_kinds(cls).items()
    ]
    return [(name, kind, blanks) for name, kind, blanks in kinds if issubclass(kind, _STRICT_KINDS)]


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """Raises InvalidInput for a field that must be a tuple, an enum, a flag or a timedelta, and is not."""

    def __post_init__(self) -> None:
        for name, kind, blanks in _strict_fields(type(self)):
            value = getattr(self, name)
            if not isinstance(value, kind) and not any(value is blank for blank in blanks):
                raise wrong_value(value, f"{type(self).__name__}.{name}", expected_of(kind))


class SearchFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of all filters: None matches anything; every other field must match.

    Of a tuple, one value must match. Raises InvalidFilter for a value that its field cannot have.
    """

    def __post_init__(self) -> None:
        for name, kind in _field_kinds(type(self)).items():
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
            known = ", ".join(
                f"{name} ({', '.join(kind.of)})" if issubclass(kind.of, enum.StrEnum) else name
                for name, kind in _field_kinds(cls).items()
            )
            raise InvalidFilter(
                f"{cls.__name__}: {printable(str(error)):.{_LONGEST_REASON}}; its fields are {known}"
            ) from None

    def in_one_spelling(self) -> Self:
        """Return the filter in one form for all that find the same: tuples in order, nothing twice."""
        tuples = {name: getattr(self, name) for name, kind in _field_kinds(type(self)).items() if kind.is_tuple}
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


def _check(value: object, subject: str, kind: _FieldKind) -> None:
    if kind.is_tuple and not isinstance(value, tuple):
        raise wrong_value(value, subject, f"a tuple, each of it {expected_of(kind.of)}", InvalidFilter)
    if kind.is_tuple and not value:
        raise InvalidFilter(f"{subject} is empty, and nothing could be found; leave it out to find all")
    for each in value if isinstance(value, tuple) and kind.is_tuple else (value,):
        if kind.of is datetime:
            check_time(each, subject, InvalidFilter)
        elif kind.of is str:
            check_text(each, subject, InvalidFilter)
        else:
            check_kind(each, kind.of, subject, InvalidFilter)


def encode_value(value: object) -> object:
    """Encode, for msgspec, what callers may put into a spec: any mapping, a subclass of str; else TypeError."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str):  # of a class of its own, such as a name from numpy
        return str.__str__(value)
    raise TypeError(f"{type(value).__name__} has no encoding")
