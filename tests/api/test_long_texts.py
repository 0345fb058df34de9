"""Every text that a method of a repository takes is refused when it is too long, before any query."""

import enum
import importlib
import inspect
import types
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.lease import Lease
from scheduler_repo.errors import InvalidFilter, InvalidInput
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.api.public_methods import PUBLIC_METHODS, PublicMethod

# A call with a text in one place: what the text stands for, and the keywords.
Call = tuple[str, dict[str, object]]

LONGEST: Final = {"reason": 131_072}
NAME: Final = 1_024
# Judged item by item, under locks, where each is rejected with the same words; tests/session and tests/agents.
JUDGED_LATER: Final = {
    "AgentRepository.return_agents": ("address", "architecture"),
    "SessionRepository.create_sessions": ("specs",),
}
# Names of slots, which are looked up among those that there are.
SLOTS: Final = frozenset({"capacity", "slot_limits", "requested_slots"})
# Not of texts that are stored, or looked for by what is stored.
NO_TEXTS: Final = frozenset({"cursor", "operation_id", "after"})
PLAIN: Final[Mapping[object, object]] = {
    int: 1,
    float: 1.0,
    bool: True,
    bytes: b"x",
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
    timedelta: timedelta(hours=1),
}


def plain(hint: object) -> object:
    """A hint without Annotated, NewType and Optional."""
    while True:
        if hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        elif typing.get_origin(hint) in (typing.Union, types.UnionType):
            hint = next(
                each for each in typing.get_args(hint) if each not in (types.NoneType, msgspec.UnsetType)
            )
        else:
            return hint


def values(hint: object, word: str, where: str) -> Iterator[tuple[str, object]]:
    """A value of a hint with short texts, then one with ``word`` in each place that holds a text."""
    hint = plain(hint)
    origin = typing.get_origin(hint)
    if hint is str:
        yield where, "x"
        yield where, word
    elif inspect.isclass(hint) and issubclass(hint, enum.Enum):
        yield where, next(iter(hint))
    elif inspect.isclass(hint) and issubclass(hint, msgspec.Struct):
        fields = {field.name: field.type for field in msgspec.structs.fields(hint)}
        yield from ((path, hint(**given)) for path, given in combinations(fields, word, where))
    elif origin in (Sequence, tuple, list, frozenset):
        for path, value in values(typing.get_args(hint)[0], word, where):
            yield path, (value,)
    elif origin in (Mapping, dict):
        key_hint, value_hint = typing.get_args(hint)
        (_, some_value), *_ = values(value_hint, word, where)
        for path, key in values(key_hint, word, where):
            yield path, {key: some_value}
    else:
        yield where, uuid4() if hint is UUID else PLAIN[hint]


def combinations(hints: Mapping[str, object], word: str, where: str) -> Iterator[Call]:
    """Keywords with short texts, then with ``word`` in one place after the other."""
    of_each = {name: list(values(hint, word, f"{where}.{name}")) for name, hint in hints.items()}
    short = {name: of_one[0][1] for name, of_one in of_each.items()}
    yield where, short
    for name, of_one in of_each.items():
        for path, value in of_one[1:]:
            yield path, {**short, name: value}


def calls(method: PublicMethod, word: str) -> Iterator[Call]:
    hints = typing.get_type_hints(method.function)
    hints.pop("return")
    taken = {
        name: hint
        for name, hint in hints.items()
        if name not in NO_TEXTS and not isinstance(plain(hint), type(Callable))
    }
    (_, *long_ones) = combinations(taken, word, method.label)
    later = SLOTS.union(JUDGED_LATER.get(method.label, ()))
    yield from (call for call in long_ones if later.isdisjoint(call[0].split(".")))


def with_texts() -> list[PublicMethod]:
    return [method for method in PUBLIC_METHODS if method.is_of_repository and _takes_text(method)]


def _takes_text(method: PublicMethod) -> bool:
    try:
        return next(calls(method, "x"), None) is not None
    except KeyError:
        return False


METHODS: Final = with_texts()


class TestTexts:
    @pytest.fixture
    async def engine(self) -> AsyncIterator[ExtendedAsyncSAEngine]:
        """An engine whose server is not there: a query would raise another error."""
        engine = create_engine(DatabaseSettings(url=SecretUrl("postgresql://nobody@127.0.0.1:1/none")))
        yield engine
        await engine.dispose()

    @pytest.mark.parametrize("method", METHODS, ids=[method.label for method in METHODS])
    async def test_that_are_too_long_are_refused(
        self, engine: ExtendedAsyncSAEngine, method: PublicMethod
    ) -> None:
        sources = importlib.import_module(method.owner.__module__.replace(".repository", ".db_source"))
        source = getattr(sources, method.owner.__name__.replace("Repository", "DBSource"))
        bound = getattr(method.owner(source(engine)), method.name)
        for place, _ in calls(method, "x"):
            longest = LONGEST.get(place.rpartition(".")[2], NAME)
            for word in ("x" * (longest + 1), "é" * (longest // 2 + 1)):
                with pytest.raises(
                    (InvalidInput, InvalidFilter), match=rf"above {longest} bytes, the limit"
                ) as refusal:
                    # A filter is judged when it is made.
                    await bound(**dict(calls(method, word))[place])
                assert len(str(refusal.value)) < 400, place

    def test_there_are_many(self) -> None:
        assert len(METHODS) > 40
        assert Lease in {
            plain(hint) for each in METHODS for hint in typing.get_type_hints(each.function).values()
        }
