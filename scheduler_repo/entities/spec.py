"""The base of all specs: frozen structs that refuse likely mistakes where they are made."""

from collections.abc import Mapping

import msgspec

from scheduler_repo.validation import check_kinds


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """Raises InvalidInput for a field that must be a tuple, an enum, a flag or a timedelta, and is not."""

    def __post_init__(self) -> None:
        check_kinds(self)


def encode_value(value: object) -> object:
    """Encode, for msgspec, what callers may put into a spec: any mapping, a subclass of str; else TypeError."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str):  # of a class of its own, such as a name from numpy
        return str.__str__(value)
    raise TypeError(f"{type(value).__name__} has no encoding")
