"""The public methods of every repository and source, found by walking the package."""

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from scheduler_repo import repositories

AsyncMethod: TypeAlias = Callable[..., Coroutine[object, object, object]]

_SUFFIXES: Final = ("Repository", "DBSource", "CacheSource")
# What ends a cache source, not a question to it.
# What a source's method takes that runs inside a repository's transaction.
_OPEN_SESSIONS: Final = frozenset({"db_sess", "write"})
_LIFE_OF_A_SOURCE: Final = frozenset({"drain", "aclose"})


class PublicMethod(msgspec.Struct, frozen=True):
    """One async method that a user of the layer may call."""

    owner: type
    name: str
    function: AsyncMethod

    @property
    def label(self) -> str:
        """As ``SessionRepository.get_session_by_id``."""
        return f"{self.owner.__name__}.{self.name}"

    @property
    def is_of_repository(self) -> bool:
        """Whether it is a repository's, not a source's."""
        return self.owner.__name__.endswith("Repository")


def public_classes() -> Iterator[type]:
    """Every repository and source of the package, without their bases."""
    for module in pkgutil.walk_packages(repositories.__path__, f"{repositories.__name__}."):
        for name, found in vars(importlib.import_module(module.name)).items():
            is_own = inspect.isclass(found) and found.__module__ == module.name
            if is_own and name.endswith(_SUFFIXES) and name not in _SUFFIXES:
                yield found


def methods_of(owner: type) -> tuple[PublicMethod, ...]:
    """The public async methods of one class, inherited ones too, statements on an open session among them."""
    return tuple(
        PublicMethod(owner, name, function)
        for name, function in inspect.getmembers(owner, inspect.iscoroutinefunction)
        if not name.startswith("_") and name not in _LIFE_OF_A_SOURCE
    )


def is_statement(method: PublicMethod) -> bool:
    """Whether a source's method runs on the open session of a repository."""
    return not _OPEN_SESSIONS.isdisjoint(inspect.signature(method.function).parameters)


def _batches() -> Iterator[tuple[PublicMethod, str]]:
    for method in PUBLIC_METHODS:
        if method.is_of_repository:
            hints = typing.get_type_hints(method.function)
            yield from ((method, name) for name, hint in hints.items() if typing.get_origin(hint) is Sequence)


_METHODS: Final = tuple(method for owner in public_classes() for method in methods_of(owner))
PUBLIC_METHODS: Final = tuple(method for method in _METHODS if not is_statement(method))
STATEMENTS: Final = tuple(method for method in _METHODS if is_statement(method))
# Every repository's method with each parameter of it that is a batch.
BATCHES: Final = tuple(_batches())
