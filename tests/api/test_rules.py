"""The rules of the layer, checked on every public method: what it answers, what it says, what surrounds it."""

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from typing import Any, Optional
from uuid import UUID

import msgspec
import pytest
from sqlalchemy.engine import Row
from sqlalchemy.orm import DeclarativeBase

from scheduler_repo.entities.paging import Page
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.metrics import MetricPolicy
from scheduler_repo.resilience.policies.retry import RetryPolicy
from scheduler_repo.resilience.policies.timeout import TimeoutPolicy
from scheduler_repo.resilience.resilience import find_resilience
from scheduler_repo.types import SessionId
from tests.api.public_methods import PUBLIC_METHODS, STATEMENTS, PublicMethod, methods_of

# A purge that failed in the middle is gone on with by whoever asked for it.
_NOT_RETRIED = frozenset({"RetentionRepository.purge"})


def every_type(annotation: object, seen: Optional[set[object]] = None) -> Iterator[object]:
    """An annotation and all that it is made of: arguments of generics, fields of structs."""
    seen = set() if seen is None else seen
    if isinstance(annotation, (list, tuple)):  # the arguments of a Callable
        for part in annotation:
            yield from every_type(part, seen)
        return
    if annotation in seen:
        return
    seen.add(annotation)
    yield annotation
    for part in typing.get_args(annotation):
        yield from every_type(part, seen)
    origin = typing.get_origin(annotation) or annotation
    if isinstance(origin, type) and (issubclass(origin, msgspec.Struct) or dataclasses.is_dataclass(origin)):
        for part in typing.get_type_hints(origin).values():
            yield from every_type(part, seen)


def faults_of_answer(annotation: object) -> set[str]:
    """What a public method must not answer with, found in its answer's type."""
    faults = set()
    for part in every_type(annotation):
        bare = typing.get_origin(part) or part
        if bare in (Any, object):
            faults.add("Any")
        elif bare is UUID:
            faults.add("a bare UUID")
        elif isinstance(bare, type) and issubclass(bare, (dict, MutableMapping, list, set)):
            faults.add(f"a {bare.__name__}, which can be written through")
        elif isinstance(bare, type) and issubclass(bare, (Row, DeclarativeBase)):
            faults.add("a row")
        elif isinstance(bare, type) and bare.__name__ == "Record":
            faults.add("a row of the driver")
    return faults


def faults_of_hints(function: object) -> set[str]:
    """The parameters of a function, and its answer, that have no type or no real one."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    untyped = {name for name, p in signature.parameters.items() if name != "self" and p.annotation is p.empty}
    if signature.return_annotation is signature.empty:
        untyped.add("return")
    hints = typing.get_type_hints(function)
    return untyped | {name for name, hint in hints.items() if Any in set(every_type(hint))}


def faults_of_docstring(method: PublicMethod) -> set[str]:
    """What a docstring leaves out; what holds for all methods of a class may be said by the class."""
    own = inspect.getdoc(method.function) or ""
    said = f"{own}\n{inspect.getdoc(method.owner) or ''}"
    faults = set()
    if not own:
        faults.add("there is none")
    # Who does as another method does points to it.
    if re.search(r"Do(es)? (as )?``\w+``", own):
        return faults
    if not re.search(r"\b[Rr]aises?\b", said):
        faults.add("its errors")
    if not re.search(r"\b[Cc]osts?\b|\bstatements?\b", said):
        faults.add("its cost")
    has_seconds = any(
        hint in (float, Optional[float]) for hint in typing.get_type_hints(method.function).values()
    )
    if has_seconds and "second" not in said:
        faults.add("the unit of its seconds")
    return faults


def fault_of_name(method: PublicMethod) -> Optional[str]:
    """Whether the name promises another kind of answer than the method gives."""
    answer = typing.get_type_hints(method.function)["return"]
    origin = typing.get_origin(answer) or answer
    is_optional = type(None) in typing.get_args(answer)
    word = method.name.split("_")[0]
    promised = {
        "get": answer is not type(None) and not is_optional,
        "find": is_optional,
        "list": origin is tuple,
        "search": origin is Page,
        "count": answer is int or (isinstance(answer, type) and issubclass(answer, msgspec.Struct)),
    }
    return None if promised.get(word, True) else f"{method.name}() answers with {answer}"


def faults_of_resilience(method: PublicMethod) -> set[str]:
    """What surrounds a public method and must not, or does not and must."""
    resilience = find_resilience(method.function)
    if resilience is None:
        return {"there is none"}
    kinds = {type(policy) for policy in resilience.policies}
    faults = {f"no {kind.__name__}" for kind in (MetricPolicy, TimeoutPolicy) if kind not in kinds}
    if RetryPolicy in kinds and method.label in _NOT_RETRIED:
        faults.add("retries")
    return faults


def by_method(faults_of: Callable[[PublicMethod], Collection[object]]) -> dict[str, Collection[object]]:
    """The faults of every public method that has some."""
    return {method.label: faults for method in PUBLIC_METHODS if (faults := faults_of(method))}


class TestEveryPublicMethod:
    def test_answers_with_structs_only(self) -> None:
        assert not by_method(lambda m: faults_of_answer(typing.get_type_hints(m.function)["return"]))

    def test_has_types(self) -> None:
        assert not by_method(lambda method: faults_of_hints(method.function))

    def test_says_its_errors_cost_and_units(self) -> None:
        assert not by_method(faults_of_docstring)

    def test_answers_as_its_name_promises(self) -> None:
        assert not by_method(lambda method: fault_of_name(method) or "")

    def test_has_its_resilience(self) -> None:
        assert not by_method(faults_of_resilience)


class TestEveryStatement:
    def test_is_a_source_s_and_has_no_resilience_of_its_own(self) -> None:
        assert STATEMENTS
        for method in STATEMENTS:
            assert method.owner.__name__.endswith("DBSource"), method.label
            assert find_resilience(method.function) is None, method.label
            assert inspect.getdoc(method.function), method.label


class TestTheWalk:
    """What the rules above are checked on is there, and a method that breaks them is found."""

    def test_finds_what_the_package_has(self) -> None:
        labels = {method.label for method in PUBLIC_METHODS}
        assert {
            "SessionRepository.enqueue_sessions",
            "SchedulerDBSource.get_scheduling_data",
            "SchedulerCacheSource.get_scheduling_data",
            "LeaseRepository.renew_lease",
        } <= labels

    def test_layers_are_each_used_for_one_class(self) -> None:
        # given the metrics' labels of every class
        layers: dict[str, set[str]] = {}
        for method in PUBLIC_METHODS:
            resilience = find_resilience(method.function)
            assert resilience is not None
            for policy in resilience.policies:
                if isinstance(policy, MetricPolicy):
                    layers.setdefault(str(policy.args.layer), set()).add(method.owner.__name__)
        # then
        assert {layer: owners for layer, owners in layers.items() if len(owners) > 1} == {}
        assert set(layers) <= {layer.value for layer in LayerType}

    @pytest.mark.parametrize(
        ("answer", "fault"),
        [
            (dict[str, int], "a dict, which can be written through"),
            (tuple[Any, ...], "Any"),
            (Optional[UUID], "a bare UUID"),
            (Page[UUID], "a bare UUID"),
            (tuple[Row[tuple[int]], ...], "a row"),
        ],
    )
    def test_a_bad_answer_is_seen(self, answer: object, fault: str) -> None:
        assert faults_of_answer(answer) == {fault}

    @pytest.mark.parametrize("answer", [SessionId, Mapping[str, int], tuple[SessionId, ...], None])
    def test_a_good_answer_is_let_through(self, answer: object) -> None:
        assert not faults_of_answer(answer)

    def test_a_bad_method_is_seen(self) -> None:
        # given
        class BadRepository:
            async def get_thing(self, wanted, seconds: float) -> Optional[int]:  # type: ignore[no-untyped-def]  # noqa: ANN001
                """Get a thing."""

            @layer_resilience(LayerType.SESSION_DB_SOURCE).apply(OperationKind.READ)
            async def find_thing(self, wanted: int) -> int:
                return wanted

        # when
        find, get = methods_of(BadRepository)
        # then
        assert faults_of_hints(get.function) == {"wanted"}
        assert faults_of_docstring(get) == {"its errors", "its cost", "the unit of its seconds"}
        assert "there is none" in faults_of_docstring(find)
        assert fault_of_name(get) is not None
        assert fault_of_name(find) is not None
        assert find_resilience(get.function) is None
        assert find_resilience(find.function) is not None
