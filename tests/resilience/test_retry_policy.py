"""How often and after which waits RetryPolicy tries again; which failures pass is a test of its own."""

import asyncio
import itertools
from collections.abc import Callable
from typing import cast

import pytest

from scheduler_repo.errors import (
    DatabaseTimeout,
    DatabaseUnavailable,
    InvalidInput,
    InvalidWiring,
    OutcomeUnknown,
    SessionNotFound,
    TransactionConflict,
)
from scheduler_repo.resilience.operation import OperationKind, current_operation
from scheduler_repo.resilience.policies.retry import (
    BackoffStrategy,
    RetryArgs,
    RetryPolicy,
    retry_waits_disabled,
)
from scheduler_repo.resilience.resilience import Resilience


def always(error: BaseException, kind: OperationKind) -> bool:
    return True


class Failing:
    """A function that fails so many times, then answers with the number of its tries."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.tries = 0

    async def __call__(self) -> int:
        self.tries += 1
        if self._failures:
            raise self._failures.pop(0)
        return self.tries


class TestWaits:
    """Waits are noted and not waited for."""

    @pytest.fixture
    def waits(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        waits: list[float] = []

        async def note(seconds: float) -> None:
            waits.append(seconds)

        monkeypatch.setattr(asyncio, "sleep", note)
        return waits

    async def run(self, args: RetryArgs, failures: int) -> int:
        failing = Failing(*(TransactionConflict("again") for _ in range(failures)))

        @Resilience([RetryPolicy(args)]).apply(OperationKind.READ)
        async def call() -> int:
            return await failing()

        return await call()

    async def test_ten_of_a_tenth_of_a_second_by_default(self, waits: list[float]) -> None:
        assert await self.run(RetryArgs(jitter=0), 10) == 11
        assert waits == [0.1] * 10

    async def test_arguments_of_the_specification(self, waits: list[float]) -> None:
        args = RetryArgs(
            max_retries=10,
            retry_delay=0.1,
            backoff_strategy=BackoffStrategy.FIXED,
            non_retryable_exceptions=(SessionNotFound,),
        )
        assert await self.run(args, 10) == 11
        assert args == RetryArgs(non_retryable_exceptions=(SessionNotFound,))
        assert len(waits) == 10
        assert all(0.1 <= wait <= 0.15 for wait in waits)

    async def test_gives_up_with_the_last_failure(self, waits: list[float]) -> None:
        with pytest.raises(TransactionConflict):
            await self.run(RetryArgs(jitter=0), 11)
        assert waits == [0.1] * 10

    async def test_policy_without_arguments_has_the_same_defaults_and_jitter(self, waits: list[float]) -> None:
        # given
        failing = Failing(*(TransactionConflict("again") for _ in range(10)))
        # when
        assert await RetryPolicy().execute(failing) == 11
        # then
        assert len(waits) == 10
        assert all(0.1 <= wait <= 0.15 for wait in waits)
        assert len(set(waits)) > 5
        assert RetryArgs().backoff_strategy is BackoffStrategy.FIXED

    async def test_growing_up_to_the_longest(self, waits: list[float]) -> None:
        args = RetryArgs(
            max_retries=6,
            retry_delay=0.25,
            backoff_strategy=BackoffStrategy.EXPONENTIAL,
            max_delay=3.0,
            jitter=0,
        )
        assert await self.run(args, 6) == 7
        assert waits == [0.25, 0.5, 1.0, 2.0, 3.0, 3.0]

    @pytest.mark.parametrize("strategy", BackoffStrategy)
    async def test_jitter_comes_on_top(self, waits: list[float], strategy: BackoffStrategy) -> None:
        args = RetryArgs(max_retries=40, retry_delay=1.0, backoff_strategy=strategy, max_delay=1.0, jitter=0.5)
        assert await self.run(args, 40) == 41
        assert all(1.0 <= wait <= 1.5 for wait in waits)
        assert len(set(waits)) > 10

    async def test_growing_for_ever(self, waits: list[float]) -> None:
        args = RetryArgs(max_retries=2_000, backoff_strategy=BackoffStrategy.EXPONENTIAL, jitter=0)
        assert await self.run(args, 2_000) == 2_001
        assert waits[-1] == args.max_delay

    async def test_none_at_all(self, waits: list[float]) -> None:
        with pytest.raises(TransactionConflict):
            await self.run(RetryArgs(max_retries=0), 1)
        assert waits == []

    async def test_disabled_for_tests(self, waits: list[float]) -> None:
        with retry_waits_disabled():
            with retry_waits_disabled():
                assert await self.run(RetryArgs(retry_delay=3600.0), 10) == 11
            assert await self.run(RetryArgs(backoff_strategy=BackoffStrategy.EXPONENTIAL), 10) == 11
        assert waits == [0.0] * 20

        await self.run(RetryArgs(jitter=0), 1)
        assert waits[20:] == [0.1]


class TestWhatIsRetried:
    async def test_answer_is_not(self) -> None:
        failing = Failing()
        assert await RetryPolicy().execute(failing) == 1

    async def test_first_lasting_failure_ends_it(self) -> None:
        # given
        failing = Failing(TransactionConflict("again"), SessionNotFound("no session 1"))
        # when
        with pytest.raises(SessionNotFound):
            await RetryPolicy(RetryArgs(retry_delay=0)).execute(failing)
        # then
        assert failing.tries == 2

    async def test_what_never_is(self) -> None:
        # given
        failing = Failing(TransactionConflict("again"))
        args = RetryArgs(retry_delay=0, non_retryable_exceptions=(TransactionConflict,))
        # when
        with pytest.raises(TransactionConflict):
            await RetryPolicy(args).execute(failing)
        # then
        assert failing.tries == 1

    async def test_allowlist_of_ones_own(self) -> None:
        failing = Failing(LookupError(), LookupError())
        args = RetryArgs(retry_delay=0, is_retryable=lambda error, kind: isinstance(error, LookupError))
        assert await RetryPolicy(args).execute(failing) == 3

    @pytest.mark.parametrize("kind", OperationKind)
    async def test_allowlist_is_told_the_kind(self, kind: OperationKind) -> None:
        # given
        asked: list[OperationKind] = []

        def note(error: BaseException, kind: OperationKind) -> bool:
            asked.append(kind)
            return False

        @Resilience([RetryPolicy(RetryArgs(is_retryable=note))]).apply(kind)
        async def call() -> None:
            raise LookupError

        # when
        with pytest.raises(LookupError):
            await call()
        # then
        assert asked == [kind]

    async def test_cancel_is_not(self) -> None:
        # given
        tries = itertools.count()

        async def wait() -> None:
            next(tries)
            await asyncio.Event().wait()

        call = asyncio.create_task(RetryPolicy(RetryArgs(retry_delay=0, is_retryable=always)).execute(wait))
        await asyncio.sleep(0)
        # when
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # then
        assert next(tries) == 1

    async def test_cancel_in_a_later_try_is_not(self) -> None:
        # given
        is_again = asyncio.Event()
        failing = Failing(TransactionConflict("again"))

        async def wait_again() -> None:
            await failing()
            is_again.set()
            await asyncio.Event().wait()

        args = RetryArgs(retry_delay=0, is_retryable=always)
        call = asyncio.create_task(RetryPolicy(args).execute(wait_again))
        await is_again.wait()
        # when
        call.cancel("enough")
        # then
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await call
        assert failing.tries == 2

    async def test_later_policies_know_the_last_failure(self) -> None:
        # given
        seen: list[object] = []
        failing = Failing(TransactionConflict("first"), TransactionConflict("second"))

        @Resilience([RetryPolicy(RetryArgs(retry_delay=0))]).apply()
        async def call() -> int:
            operation = current_operation()
            assert operation is not None
            seen.append(operation.last_error)
            return await failing()

        # when
        await call()
        # then
        assert seen == [None, "first", "second"]


class TestUnknownOutcome:
    """What may have been written is not forgotten because a later try could not even connect."""

    def idempotent(self, failing: Failing) -> Callable[[], "asyncio.Task[int]"]:
        args = RetryArgs(max_retries=2, retry_delay=0, is_retryable=always)

        @Resilience([RetryPolicy(args)]).apply(OperationKind.IDEMPOTENT_WRITE)
        async def call() -> int:
            return await failing()

        return lambda: asyncio.ensure_future(call())

    @pytest.mark.parametrize("last", [DatabaseUnavailable("refused"), DatabaseTimeout("no answer")])
    async def test_later_failure_does_not_hide_it(self, last: Exception) -> None:
        # given
        failing = Failing(OutcomeUnknown("lost at COMMIT"), DatabaseUnavailable("refused"), last)
        # when
        with pytest.raises(OutcomeUnknown, match=f"lost at COMMIT; it was asked again, and then: {last}"):
            await self.idempotent(failing)()
        # then
        assert failing.tries == 3

    async def test_later_answer_stands(self) -> None:
        assert await self.idempotent(Failing(OutcomeUnknown("lost at COMMIT")))() == 2

    async def test_what_the_caller_is_told_otherwise_stands_too(self) -> None:
        failing = Failing(OutcomeUnknown("lost at COMMIT"), SessionNotFound("no session 1"), LookupError())
        with pytest.raises(LookupError):
            await self.idempotent(failing)()

    async def test_nothing_was_lost(self) -> None:
        failing = Failing(*(DatabaseUnavailable("refused") for _ in range(3)))
        with pytest.raises(DatabaseUnavailable) as failure:
            await self.idempotent(failing)()
        assert type(failure.value) is DatabaseUnavailable


class TestArguments:
    @pytest.mark.parametrize("retries", [-1, 1.0, True, "3", None])
    def test_no_number_of_retries(self, retries: object) -> None:
        with pytest.raises(InvalidInput, match=r"max_retries is .*, it must be a number of retries, 0 or more"):
            RetryArgs(max_retries=cast(int, retries))

    @pytest.mark.parametrize("name", ["retry_delay", "max_delay", "jitter"])
    @pytest.mark.parametrize("seconds", [-0.1, float("nan"), float("inf"), 3601, True, "1"])
    def test_what_cannot_be_waited(self, name: str, seconds: object) -> None:
        with pytest.raises(InvalidInput, match=f"{name} is .*, it must be 0 to 3600 seconds"):
            RetryArgs(**{name: seconds})  # type: ignore[arg-type] # it is what is tested

    def test_no_strategy(self) -> None:
        with pytest.raises(InvalidInput, match="backoff_strategy is 'fixed', it must be a BackoffStrategy"):
            RetryArgs(backoff_strategy=cast(BackoffStrategy, "fixed"))

    @pytest.mark.parametrize("given", [LookupError, [LookupError], ("LookupError",), (LookupError(),)])
    def test_no_exception_classes(self, given: object) -> None:
        with pytest.raises(InvalidInput, match="is no tuple of exception classes"):
            RetryArgs(non_retryable_exceptions=cast("tuple[type[BaseException], ...]", given))

    @pytest.mark.parametrize("args", [RetryArgs, 10, {"max_retries": 10}])
    def test_no_arguments_of_a_policy(self, args: object) -> None:
        with pytest.raises(InvalidWiring, match=r"args is .* it must be a RetryArgs"):
            RetryPolicy(cast(RetryArgs, args))
