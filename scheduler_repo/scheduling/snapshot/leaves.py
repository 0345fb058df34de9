"""The leaves of a struct: the fields, at any depth, that hold no further struct or tuple of structs.

A walk is compiled from the types, not from the values: a field that is added later is met by it, or refused.
"""

import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple, Optional, Union

import msgspec

from scheduler_repo.types import Word

# Makes the new value of a leaf from the value and the struct that holds it.
Change = Callable[[object, object], object]


class Leaf(NamedTuple):
    """A field of a struct and what it holds: an id's or name's own type, or a plain one."""

    holder: type
    field: str
    kind: object

    @property
    def is_struct(self) -> bool:
        """Whether it is no leaf but holds structs, which have leaves."""
        return isinstance(self.kind, type) and issubclass(self.kind, msgspec.Struct)

    @property
    def is_word(self) -> bool:
        """Whether it holds one of the few words that the field has in every database."""
        return isinstance(self.kind, type) and issubclass(self.kind, Word)


def compile_walk(kind: object, choose: Callable[[Leaf], Optional[Change]]) -> Callable[[object], object]:
    """Build the function that gives a struct of this kind the changes that ``choose`` names for its fields.

    A field that holds structs is asked for first, then theirs, if it gets no change as a whole. What holds no
    change is kept as it is, the same object. Raises TypeError for a field whose type is not understood.
    """
    change = _compile(kind, Leaf(object, "", kind), choose, {})
    return lambda value: value if change is None else change(value, None)


def _compile(
    kind: object, leaf: Leaf, choose: Callable[[Leaf], Optional[Change]], bound: Mapping[object, object]
) -> Optional[Change]:
    kind = bound.get(kind, kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        present = [each for each in arguments if each is not type(None)]
        if len(present) != 1:
            raise TypeError(f"{leaf.holder.__name__}.{leaf.field} may hold several kinds: {kind}")
        return _or_none(_compile(present[0], leaf, choose, bound))
    if origin is tuple:
        if len(arguments) != 2 or arguments[1] is not Ellipsis:
            raise TypeError(f"{leaf.holder.__name__}.{leaf.field} is a tuple of fixed length: {kind}")
        return _each(_compile(arguments[0], leaf, choose, bound))
    struct = origin or kind
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
        whole = choose(leaf._replace(kind=struct))
        if whole is not None:
            return whole
        parameters = getattr(struct, "__parameters__", ())
        return _fields(struct, dict(zip(parameters, arguments, strict=True)), choose)
    if origin is not None or isinstance(kind, typing.TypeVar):
        raise TypeError(f"{leaf.holder.__name__}.{leaf.field} holds {kind}, which no walk knows")
    return choose(leaf._replace(kind=kind))


def _fields(
    struct: type[msgspec.Struct],
    bound: Mapping[object, object],
    choose: Callable[[Leaf], Optional[Change]],
) -> Optional[Change]:
    hints = _hints_of(struct)
    changes: list[tuple[str, Change]] = []
    for field in struct.__struct_fields__:
        change = _compile(hints[field], Leaf(struct, field, hints[field]), choose, bound)
        if change is not None:
            changes.append((field, change))
    if not changes:
        return None

    def change_fields(value: object, _: object) -> object:
        given = typing.cast(msgspec.Struct, value)
        new = {field: change(getattr(given, field), given) for field, change in changes}
        return msgspec.structs.replace(given, **new)

    return change_fields


@cache
def _hints_of(struct: type[msgspec.Struct]) -> Mapping[str, object]:
    return typing.get_type_hints(struct)


def _or_none(change: Optional[Change]) -> Optional[Change]:
    if change is None:
        return None
    known = change
    return lambda value, holder: None if value is None else known(value, holder)


def _each(change: Optional[Change]) -> Optional[Change]:
    if change is None:
        return None
    known = change
    return lambda value, holder: tuple(known(each, holder) for each in typing.cast(tuple[object, ...], value))
