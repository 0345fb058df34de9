"""Policies around a call, as a decorator that keeps the call's type."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial, wraps
from typing import Final, Optional, ParamSpec, TypeVar

from scheduler_repo.errors import InvalidWiring
from scheduler_repo.resilience.operation import CURRENT, Operation, OperationKind
from scheduler_repo.wiring import check_wiring

P = ParamSpec("P")
R = TypeVar("R")

_MARK: Final = "__resilience__"


class Policy(ABC):
    """Something that surrounds calls: a bound on time, retries, metrics, or what a user writes."""

    @abstractmethod
    async def execute(self, call: Callable[[], Awaitable[R]]) -> R:
        """Make ``call``, as often as it takes, and return its result or raise.

        ``current_operation()`` says which call it is. A cancel must be let through.
        """


class Resilience:
    """A chain of policies, the first outermost; one per layer, made once."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        """Raise InvalidWiring for anything but a list of policies: objects, not classes."""
        check_wiring(policies, Sequence, "policies", "a list, also of one policy")
        for policy in policies:
            check_wiring(policy, Policy, "a policy", "an object of a class derived from Policy")
        self.policies = tuple(policies)

    def apply(
        self, kind: OperationKind = OperationKind.WRITE
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[None, None, R]]]:
        """Return a decorator for async functions and methods; ``kind`` says what doing one again means.

        The decorated function's own name is the operation's. Raises InvalidWiring for a function that is not
        async, and for ``@apply`` without parentheses. Costs a few microseconds a call and policy.
        """
        advice = "an OperationKind, and write @resilience.apply() with parentheses"
        check_wiring(kind, OperationKind, "kind", advice)
        innermost_first = self.policies[::-1]

        def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[None, None, R]]:
            name = _check_async(function)

            @wraps(function)
            async def surrounded(*args: P.args, **kwargs: P.kwargs) -> R:
                call: Callable[[], Awaitable[R]] = partial(function, *args, **kwargs)
                for policy in innermost_first:
                    call = partial(policy.execute, call)
                # No block of a context manager: a generator would cost as much as a policy does.
                token = CURRENT.set(Operation(name, kind, CURRENT.get()))
                try:
                    return await call()
                finally:
                    CURRENT.reset(token)

            setattr(surrounded, _MARK, self)
            return surrounded

        return decorate


def find_resilience(function: object) -> Optional[Resilience]:
    """Return the Resilience that a function or method was decorated with; None if it was not."""
    found: object = getattr(function, _MARK, None)
    return found if isinstance(found, Resilience) else None


def _check_async(function: object) -> str:
    """Return the name of an async function; raises InvalidWiring for anything else."""
    name: object = getattr(function, "__name__", None)
    if isinstance(name, str) and inspect.iscoroutinefunction(function):
        return name
    found = f"the class {name}" if isinstance(function, type) else f"{name or repr(function):.80}"
    raise InvalidWiring(
        f"apply() was given {found}, which is not an async function; give one written with async def, and put "
        "@staticmethod and @classmethod above @apply()"
    )
