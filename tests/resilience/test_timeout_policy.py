"""One deadline for a call with all that is in it, told apart from time-outs that are not its own."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import cast
from uuid import UUID
from weakref import ref

import pytest

from scheduler_repo.errors import DatabaseTimeout, DeadlineExceeded, InvalidInput, TransactionConflict
from scheduler_repo.resilience.layers import BULK_DEADLINE
from scheduler_repo.resilience.operation import OperationKind, current_operation
from scheduler_repo.resilience.policies.retry import RetryArgs, RetryPolicy
from scheduler_repo.resilience.policies.timeout import (
    DEFAULT_DEADLINE,
    TimeoutArgs,
    TimeoutPolicy,
    call_deadline,
)
from scheduler_repo.resilience.resilience import Resilience
from scheduler_repo.types import OperationId
from tests.support.waiting import PATIENCE

_LONG = 3600.0
_SHORT = 0.02
Call = Callable[[], Coroutine[None, None, None]]


class Answer:
    """What a call has read."""


def bounded(seconds: float, *inner: RetryPolicy) -> Resilience:
    return Resilience([TimeoutPolicy(TimeoutArgs(deadline=seconds)), *inner])


def waiting(seconds: float, kind: OperationKind = OperationKind.READ) -> Call:
    """A call that never ends by itself."""

    @bounded(seconds).apply(kind)
    async def wait() -> None:
        await asyncio.Event().wait()

    return wait


class TestDeadline:
    async def test_ends_a_call(self) -> None:
        with pytest.raises(
            DeadlineExceeded, match=r"wait took longer than its deadline of 0\.02 s; try again, or"
        ):
            await waiting(_SHORT)()

    async def test_is_a_time_out_of_the_database_layer(self) -> None:
        with pytest.raises(DatabaseTimeout) as failure:
            await waiting(_SHORT)()
        assert failure.value.error_code == "deadline_exceeded"
        assert isinstance(failure.value.__cause__, TimeoutError)

    async def test_covers_all_retries(self) -> None:
        # given a call that fails and waits so often that each try alone is in time
        tries: list[int] = []

        @bounded(0.1, RetryPolicy(RetryArgs(max_retries=1000, retry_delay=0.01))).apply(OperationKind.READ)
        async def fail() -> None:
            tries.append(1)
            raise TransactionConflict("the transaction lost a race")

        # when
        with pytest.raises(
            DeadlineExceeded, match="the last try of it failed with: the transaction lost a race"
        ):
            await fail()
        # then
        assert len(tries) <= 1000

    async def test_result_in_time_is_given(self) -> None:
        @bounded(_LONG).apply()
        async def find() -> str:
            await asyncio.sleep(0)
            return "found"

        assert await find() == "found"

    async def test_defaults(self) -> None:
        assert TimeoutArgs().deadline == DEFAULT_DEADLINE == 60.0
        assert BULK_DEADLINE > DEFAULT_DEADLINE

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 86_401, True, "1", None])
    def test_what_cannot_be_kept(self, seconds: object) -> None:
        given = cast(float, seconds)
        message = "deadline is .*, it must be seconds above 0, at most 86400"
        with pytest.raises(InvalidInput, match=message):
            TimeoutArgs(deadline=given)
        with pytest.raises(InvalidInput, match=message), call_deadline(given):
            pass


class TestWrites:
    @pytest.mark.parametrize("kind", [OperationKind.WRITE, OperationKind.IDEMPOTENT_WRITE])
    async def test_without_an_operation_id(self, kind: OperationKind) -> None:
        with pytest.raises(DeadlineExceeded, match="all was written, or nothing: read before writing again"):
            await waiting(_SHORT, kind)()

    async def test_operation_id_of_a_source_is_told_by_the_repository(self) -> None:
        # given
        operation_id = OperationId(UUID(int=7))

        @bounded(_LONG).apply(OperationKind.WRITE)
        async def write() -> None:
            operation = current_operation()
            assert operation is not None
            operation.note_operation_id(operation_id)
            await asyncio.Event().wait()

        @bounded(_SHORT).apply(OperationKind.WRITE)
        async def store() -> None:
            await write()

        # when
        with pytest.raises(DeadlineExceeded, match=f"store took .* under operation id {operation_id}"):
            await store()


class TestNestedCalls:
    async def test_share_the_deadline_of_the_outer_one(self) -> None:
        """Neither a longer nor a shorter one of the inner call counts."""
        # given
        inner_deadlines = iter([_LONG, 0.000_001])

        async def outer() -> None:
            @bounded(next(inner_deadlines)).apply()
            async def inner() -> None:
                await asyncio.Event().wait()

            await inner()

        decorated = bounded(_SHORT).apply(OperationKind.READ)(outer)
        for _ in range(2):
            # when
            with pytest.raises(DeadlineExceeded, match=r"outer took longer than its deadline of 0\.02 s"):
                await decorated()

    async def test_next_call_has_its_own_again(self) -> None:
        # given
        async def find() -> None: ...

        # when
        await bounded(_LONG).apply()(find)()
        # then
        with pytest.raises(DeadlineExceeded):
            await waiting(_SHORT)()

    async def test_task_that_outlives_the_call_has_its_own(self) -> None:
        # given
        is_over = asyncio.Event()

        async def later() -> None:
            await is_over.wait()
            await waiting(_SHORT)()

        async def begin() -> "asyncio.Task[None]":
            return asyncio.create_task(later())

        # when
        task = await bounded(_LONG).apply()(begin)()
        is_over.set()
        # then
        with pytest.raises(DeadlineExceeded, match="wait took"):
            async with asyncio.timeout(PATIENCE):
                await task

    async def test_task_of_the_call_keeps_to_its_deadline(self) -> None:
        # given
        tasks: list[asyncio.Task[None]] = []

        async def begin() -> None:
            tasks.append(asyncio.create_task(waiting(_LONG)()))
            await asyncio.Event().wait()

        # when
        with pytest.raises(DeadlineExceeded, match="begin took"):
            await bounded(_SHORT).apply()(begin)()
        # then
        with pytest.raises(DeadlineExceeded, match=r"wait took .* 0\.02 s"):
            async with asyncio.timeout(PATIENCE):
                await tasks[0]


class TestEndedCall:
    @pytest.mark.parametrize("fails_before", [False, True])
    async def test_leaves_nothing_that_it_read_in_a_context_that_outlives_it(
        self, *, fails_before: bool
    ) -> None:
        """A connection that a call opens keeps the call's context for as long as it is open."""
        contexts: list[Context] = []
        read: list[ref[Answer]] = []

        @bounded(_LONG, RetryPolicy(RetryArgs(retry_delay=0.0, jitter=0.0))).apply(OperationKind.READ)
        async def call() -> Answer:
            contexts.append(copy_context())
            answer = Answer()
            read.append(ref(answer))
            if fails_before and len(read) == 1:
                raise TransactionConflict("somebody else was first")
            return answer

        # In a task of its own, which has the answer for its result.
        await asyncio.create_task(call())
        # The loop's turn that this goes on in holds the task too.
        await asyncio.sleep(0)
        gc.collect()
        assert [each() for each in read] == [None] * (2 if fails_before else 1)
        assert len(contexts) == len(read)


class TestCallDeadline:
    async def test_shortens(self) -> None:
        with call_deadline(_SHORT), pytest.raises(DeadlineExceeded, match=r"0\.02 s"):
            await waiting(_LONG)()

    async def test_extends(self) -> None:
        # given
        ended = asyncio.Event()

        @bounded(0.005).apply()
        async def work() -> str:
            await asyncio.sleep(0.05)
            ended.set()
            return "done"

        # when
        with call_deadline(_LONG):
            assert await work() == "done"
        # then
        assert ended.is_set()

    async def test_ends_with_its_block(self) -> None:
        with call_deadline(_LONG):
            pass
        with pytest.raises(DeadlineExceeded, match=r"0\.02 s"):
            await waiting(_SHORT)()

    async def test_the_inner_block_holds(self) -> None:
        with call_deadline(_LONG), call_deadline(_SHORT), pytest.raises(DeadlineExceeded):
            await waiting(_LONG)()

    async def test_is_each_tasks_own(self) -> None:
        # given
        async def short() -> None:
            with call_deadline(_SHORT):
                await waiting(_LONG)()

        other = asyncio.create_task(waiting(_LONG)())
        # when
        with pytest.raises(DeadlineExceeded):
            await asyncio.create_task(short())
        # then
        assert not other.done()
        other.cancel()
        await asyncio.wait([other])


class TestOtherTimeOuts:
    async def test_the_bodys_own(self) -> None:
        @bounded(_LONG).apply()
        async def fail() -> None:
            raise TimeoutError("of the body")

        with pytest.raises(TimeoutError, match="of the body") as failure:
            await fail()
        assert not isinstance(failure.value, DeadlineExceeded)

    async def test_the_callers(self) -> None:
        with pytest.raises(TimeoutError) as failure:
            async with asyncio.timeout(_SHORT):
                await waiting(_LONG)()
        assert not isinstance(failure.value, DeadlineExceeded)

    async def test_the_callers_cancel(self) -> None:
        # given
        call = asyncio.create_task(waiting(_LONG)())
        await asyncio.sleep(0)
        # when
        call.cancel("enough")
        # then
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await call
