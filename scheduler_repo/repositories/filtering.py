"""What searches are narrowed by: structs of optional fields, checked before any query."""

from collections.abc import Mapping
from typing import Self, TypeVar

import msgspec

from scheduler_repo.errors import InvalidFilter, InvalidInput
from scheduler_repo.repositories.writing import check_text


class SearchFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields by which one kind of search is narrowed: all that are given must hold, None: not asked."""

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> Self:
        """Make a filter from fields by name, as from the outside; raises InvalidFilter for what is unknown."""
        return _converted(fields, cls)


FilterT = TypeVar("FilterT", bound=SearchFilter)


def checked_filter(given: object, kind: type[FilterT]) -> FilterT:
    """Return a filter whose every field has its type; raises InvalidFilter, which names the field."""
    if not isinstance(given, kind):
        raise InvalidFilter(
            f"the filter is {given!r:.60}, of type {type(given).__name__}; make one with "
            f"{kind.__name__}() or {kind.__name__}.of()"
        )
    return _converted(msgspec.structs.asdict(given), kind)


def _converted(fields: Mapping[str, object], kind: type[FilterT]) -> FilterT:
    try:
        converted = msgspec.convert(fields, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InvalidFilter(
            f"{kind.__name__}: {error!s:.300}; its fields are {', '.join(kind.__struct_fields__)}"
        ) from error
    for name, value in msgspec.structs.asdict(converted).items():
        _check_values(f"{kind.__name__}.{name}", value)
    return converted


def _check_values(subject: str, value: object) -> None:
    if value == ():
        raise InvalidFilter(f"{subject} is empty, and nothing could be found; leave it out to find all")
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, str):
            try:
                check_text(part, subject)
            except InvalidInput as error:
                raise InvalidFilter(str(error)) from error
