"""Policies around a call: their order, what they know of it, and what a user's own may do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Optional, TypeVar, cast

import pytest

from scheduler_repo.errors import InvalidWiring, SessionNotFound
from scheduler_repo.resilience.operation import Operation, OperationKind, current_operation
from scheduler_repo.resilience.policies.retry import RetryPolicy
from scheduler_repo.resilience.resilience import Policy, Resilience, find_resilience

R = TypeVar("R")


class Noting(Policy):
    """A user's own policy: notes when it is entered and left, and in which operation."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name = name
        self._notes = notes

    async def execute(self, call: Callable[[], Awaitable[R]]) -> R:
        operation = current_operation()
        assert operation is not None
        self._notes.append(f"{self._name} enters {operation.name} ({operation.kind})")
        try:
            return await call()
        finally:
            self._notes.append(f"{self._name} leaves")


class Instead(Policy):
    """A user's own policy that never makes the call."""

    async def execute(self, call: Callable[[], Awaitable[R]]) -> R:
        raise SessionNotFound("answered by the policy")


class TestChain:
    @pytest.fixture
    def notes(self) -> list[str]:
        return []

    @pytest.fixture
    def resilience(self, notes: list[str]) -> Resilience:
        return Resilience(policies=[Noting("first", notes), Noting("second", notes)])

    async def test_first_is_outermost(self, resilience: Resilience, notes: list[str]) -> None:
        # given
        @resilience.apply(OperationKind.READ)
        async def find(number: int, *, name: str) -> str:
            notes.append("called")
            return f"{number} {name}"

        # when
        answer = await find(1, name="one")
        # then
        assert answer == "1 one"
        assert notes == [
            "first enters find (read)",
            "second enters find (read)",
            "called",
            "second leaves",
            "first leaves",
        ]

    async def test_error_passes_through_all(self, resilience: Resilience, notes: list[str]) -> None:
        @resilience.apply()
        async def fail() -> None:
            raise LookupError

        with pytest.raises(LookupError):
            await fail()
        assert notes[-2:] == ["second leaves", "first leaves"]
        assert current_operation() is None

    async def test_policy_may_answer_itself(self) -> None:
        @Resilience([Instead()]).apply()
        async def find() -> int:
            raise AssertionError

        with pytest.raises(SessionNotFound):
            await find()

    async def test_policy_may_call_again(self, notes: list[str]) -> None:
        """Those inside of it see each try."""

        # given
        class Twice(Policy):
            async def execute(self, call: Callable[[], Awaitable[R]]) -> R:
                await call()
                return await call()

        numbers = iter(range(5))

        @Resilience([Twice(), Noting("inner", notes)]).apply()
        async def count() -> int:
            return next(numbers)

        # when
        assert await count() == 1
        # then
        assert notes.count("inner leaves") == 2

    @pytest.mark.parametrize("policy", [None, "retry", RetryPolicy, lambda call: call()])
    def test_what_is_no_policy_is_refused(self, policy: object) -> None:
        with pytest.raises(InvalidWiring, match="derived from Policy"):
            Resilience([cast(Policy, policy)])

    def test_class_of_a_policy_is_named(self) -> None:
        with pytest.raises(InvalidWiring, match="a policy is the class RetryPolicy"):
            Resilience([cast(Policy, RetryPolicy)])

    @pytest.mark.parametrize("policies", [RetryPolicy(), None, RetryPolicy])
    def test_what_is_no_list_of_policies_is_refused(self, policies: object) -> None:
        with pytest.raises(InvalidWiring, match="give a list"):
            Resilience(cast("list[Policy]", policies))

    async def test_none_at_all(self) -> None:
        @Resilience([]).apply()
        async def double(number: int) -> int:
            return 2 * number

        assert await double(2) == 4

    def test_decorated_function_keeps_its_name_and_words(self, resilience: Resilience) -> None:
        async def find() -> None:
            """Find it."""

        decorated = resilience.apply()(find)
        assert (decorated.__name__, decorated.__doc__) == ("find", "Find it.")
        assert find_resilience(decorated) is resilience
        assert find_resilience(find) is None
        assert asyncio.iscoroutinefunction(decorated)


def sync_function() -> int:
    """Is not async."""
    return 1


async def generate() -> AsyncIterator[int]:
    """Answers more than once."""
    yield 1


async def find() -> int:
    """Is async."""
    return 1


class TestWiring:
    """What cannot be decorated is refused where it is decorated, not at the first call."""

    @pytest.mark.parametrize(
        ("function", "named"),
        [
            (sync_function, "sync_function"),
            (generate, "generate"),
            (lambda: 1, "<lambda>"),
            (RetryPolicy, "the class RetryPolicy"),
            (staticmethod(find), "find"),
            (None, "None"),
        ],
    )
    def test_what_is_no_async_function(self, function: object, named: str) -> None:
        with pytest.raises(InvalidWiring, match=f"given {named}, which is not an async function; give"):
            Resilience([]).apply()(cast("Callable[[], Awaitable[int]]", function))

    @pytest.mark.parametrize("kind", [find, sync_function, "read", None, OperationKind])
    def test_no_parentheses_or_no_kind(self, kind: object) -> None:
        with pytest.raises(InvalidWiring, match=r"kind is .* write @resilience\.apply\(\) with parentheses"):
            Resilience([]).apply(cast(OperationKind, kind))

    async def test_bound_and_decorated_methods_are_async(self) -> None:
        source = Source()
        for function in (source.fetch, Resilience([]).apply()(source.fetch)):
            assert await Resilience([]).apply()(function)() is not None


class Source:
    """What a repository asks."""

    @Resilience([]).apply(OperationKind.READ)
    async def fetch(self) -> Optional[Operation]:
        return current_operation()


class Repository:
    """Asks a source in the middle of a call of its own."""

    @Resilience([]).apply(OperationKind.WRITE)
    async def store(self) -> tuple[Optional[Operation], Optional[Operation], Optional[Operation]]:
        before = current_operation()
        inner = await Source().fetch()
        return before, inner, current_operation()


class TestNestedCalls:
    async def test_each_has_its_own_operation(self) -> None:
        # when
        before, inner, after = await Repository().store()
        # then
        assert before is not None
        assert inner is not None
        assert (before.name, before.kind) == ("store", OperationKind.WRITE)
        assert (inner.name, inner.kind) == ("fetch", OperationKind.READ)
        assert after is before
        assert current_operation() is None

    async def test_concurrent_calls_do_not_see_each_other(self) -> None:
        # given
        release = asyncio.Event()

        @Resilience([]).apply()
        async def wait() -> Optional[Operation]:
            await release.wait()
            return current_operation()

        calls = [asyncio.create_task(wait()) for _ in range(3)]
        # when
        await asyncio.sleep(0)
        release.set()
        operations = await asyncio.gather(*calls)
        # then
        assert len({id(operation) for operation in operations}) == 3
        assert current_operation() is None
