"""Names: no two classes of the package share one, and every word of the database has its enum."""

import importlib
import inspect
import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from types import ModuleType
from typing import cast

import pytest

import scheduler_repo
from scheduler_repo.errors import UnknownWord
from scheduler_repo.types import OWNER_FIELDS, OptionalWordTable, OwnerScope, Word, WordTable

WORDS = Word.__subclasses__()


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(scheduler_repo.__path__, f"{scheduler_repo.__name__}."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


class TestClasses:
    def test_no_two_share_a_name(self) -> None:
        places: defaultdict[str, set[str]] = defaultdict(set)
        for module in modules():
            for name, found in inspect.getmembers(module, inspect.isclass):
                if found.__module__ == module.__name__ and found.__qualname__ == name:
                    places[name].add(module.__name__)
        assert len(places) > 300
        assert {name: found for name, found in places.items() if len(found) > 1} == {}

    def test_every_noun_word_and_error_is_imported_from_the_root(self) -> None:
        bases = {"CursorCodec", "OptionalWordTable", "OwnerFields", "SearchFilter", "Spec", "Word", "WordTable"}
        rooms = "scheduler_repo.entities.", "scheduler_repo.types", "scheduler_repo.errors"
        public = {
            name
            for module in modules()
            if module.__name__.startswith(rooms)
            for name, found in inspect.getmembers(module, inspect.isclass)
            if found.__module__ == module.__name__ and not name.startswith("_")
        }
        assert len(public) > 150
        assert public - set(dir(scheduler_repo)) == bases


class TestWords:
    def test_all_are_looked_at(self) -> None:
        assert len(WORDS) == 8

    @pytest.mark.parametrize("kind", WORDS)
    def test_every_word_is_read(self, kind: type[Word]) -> None:
        for word in kind:
            read = (kind, WordTable(kind).__getitem__, OptionalWordTable(kind).__getitem__)
            assert all(each(word.value) is word for each in read)

    @pytest.mark.parametrize("kind", WORDS)
    def test_an_unknown_word_is_named_with_those_that_are_known(self, kind: type[Word]) -> None:
        known = ", ".join(kind)
        for read in (kind, WordTable(kind).__getitem__, OptionalWordTable(kind).__getitem__):
            with pytest.raises(UnknownWord, match=f"'HALF_RUNNING' is no {kind.__name__} .*{known}"):
                read("HALF_RUNNING")

    @pytest.mark.parametrize("kind", WORDS)
    def test_no_word_is_one_only_where_it_may_be_missing(self, kind: type[Word]) -> None:
        assert OptionalWordTable(kind)[None] is None
        with pytest.raises(UnknownWord):
            WordTable(kind)[cast(str, None)]


class TestOwnerScopes:
    def test_names_stand_in_the_order_of_the_scopes(self) -> None:
        assert list(OWNER_FIELDS) == list(OwnerScope)
