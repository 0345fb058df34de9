"""What a write stores of its request and its result, and which errors of a COMMIT say what became of it."""

from types import MappingProxyType
from uuid import UUID

import asyncpg
import msgspec
import pytest

from scheduler_repo.database.errors import outcome_is_known
from scheduler_repo.database.idempotent_write import IdempotentWrite
from scheduler_repo.entities.allocation import AllocationResult, RejectedAllocation, RejectionCode
from scheduler_repo.entities.lifecycle import (
    DispatchResult,
    RejectedTransition,
    SessionEnd,
    SessionStart,
    TransitionRejectionCode,
    TransitionResult,
)
from scheduler_repo.errors import DatabaseError, InvalidInput, OperationMismatch
from scheduler_repo.types import AgentId, OperationId, SessionResult, SessionStatus, TransactionId
from scheduler_repo.validation import check_ids
from tests.support.fixtures import MakeEngine
from tests.support.small_cluster import CPU, kernel_id, session_id


class Asked(msgspec.Struct, frozen=True):
    """A result that says which try it was."""

    number: int


class TestOutcomeIsKnown:
    @pytest.mark.parametrize(
        "error",
        [
            asyncpg.UniqueViolationError,  # of a deferred constraint
            asyncpg.SerializationError,
            asyncpg.DeadlockDetectedError,
            asyncpg.InFailedSQLTransactionError,
            asyncpg.IdleInTransactionSessionTimeoutError,
            asyncpg.DiskFullError,
            asyncpg.RaiseError,
        ],
    )
    def test_rolled_back(self, error: type[asyncpg.PostgresError]) -> None:
        assert outcome_is_known(error("refused"))

    def test_commit_answered_by_a_rollback(self) -> None:
        assert outcome_is_known(DatabaseError("the transaction was rolled back"))

    @pytest.mark.parametrize(
        "error",
        [
            asyncpg.StatementCompletionUnknownError("40003"),
            asyncpg.AdminShutdownError("the answer may be what it cut off"),
            asyncpg.CrashShutdownError("the same"),
            asyncpg.QueryCanceledError("while it waited for a standby"),
            asyncpg.ConnectionDoesNotExistError("closed in the middle"),
            asyncpg.InternalServerError("XX000"),
            asyncpg.PostgresError("without a code"),
            asyncpg.InterfaceError("connection is closed"),
            TimeoutError(),
            ConnectionResetError(),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_lost(self, error: Exception) -> None:
        assert not outcome_is_known(error)


class TestStoredResult:
    """As the second try reads it."""

    @pytest.mark.parametrize(
        "result",
        [
            AllocationResult(
                (session_id(1),),
                (RejectedAllocation(session_id(2), RejectionCode.AGENT_UNKNOWN),),
                TransactionId(2**40),
            ),
            TransitionResult(
                SessionStatus.TERMINATED,
                (session_id(1), session_id(2)),
                (
                    RejectedTransition(
                        session_id(3),
                        TransitionRejectionCode.KERNEL_UNKNOWN,
                        SessionStatus.RUNNING,
                        kernel_id(3),
                        AgentId("agent"),
                        "detail",
                    ),
                ),
                TransactionId(7),
            ),
            DispatchResult((session_id(1),), (session_id(2),), TransactionId(7)),
            None,
        ],
        ids=lambda result: type(result).__name__,
    )
    async def test_is_the_first_one(self, make_engine: MakeEngine, result: object) -> None:
        # given
        kind: IdempotentWrite[object] = IdempotentWrite("kind", type(result))
        engine, operation_id = make_engine(), OperationId(UUID(int=1))

        async def work(_: object) -> object:
            return result

        async def never(_: object) -> object:
            raise LookupError("written twice")

        first = await kind.run(engine, work, request=1, operation_id=operation_id)
        # when
        again = await kind.run(engine, never, request=1, operation_id=operation_id)
        # then
        assert again == first == result
        assert type(again) is type(result)


ENDS = [SessionEnd(session_id(1), SessionResult.SUCCESS, {kernel_id(1): 0})]
STARTS = [SessionStart(session_id(1), {kernel_id(1): {CPU: 1}})]


class TestRequest:
    """Which requests are the same write."""

    @pytest.mark.parametrize(
        ("first", "same"),
        [
            (ENDS, tuple(ENDS)),
            (STARTS, [SessionStart(session_id(1), MappingProxyType({kernel_id(1): {CPU: 1}}))]),
            # What is refused later must not fail here, nor be another write each time.
            (2**70, 2**70),
            ({1: object}, {1: object}),
        ],
    )
    async def test_same(self, make_engine: MakeEngine, first: object, same: object) -> None:
        assert await self._run(make_engine, first, same) == Asked(1)

    @pytest.mark.parametrize(
        ("first", "other"),
        [
            (ENDS, [SessionEnd(session_id(1), SessionResult.FAILURE, {kernel_id(1): 0})]),
            (ENDS, [SessionEnd(session_id(1), SessionResult.SUCCESS, {kernel_id(1): 1})]),
            (ENDS, [*ENDS, *ENDS]),
            (STARTS, [SessionStart(session_id(1), {kernel_id(1): {CPU: 2}})]),
            (2**70, 2**71),
        ],
    )
    async def test_other(self, make_engine: MakeEngine, first: object, other: object) -> None:
        with pytest.raises(OperationMismatch):
            await self._run(make_engine, first, other)

    async def _run(self, make_engine: MakeEngine, *requests: object) -> Asked:
        kind, engine, operation_id = IdempotentWrite("kind", Asked), make_engine(), OperationId(UUID(int=1))
        tries = 0

        async def work(_: object) -> Asked:
            nonlocal tries
            tries += 1
            return Asked(tries)

        results = [
            await kind.run(engine, work, request=request, operation_id=operation_id) for request in requests
        ]
        return results[-1]


class TestChecks:
    @pytest.mark.parametrize("given", ["00000000-0000-0000-0000-000000000001", 1, None])
    def test_an_id_that_is_none(self, given: object) -> None:
        with pytest.raises(InvalidInput, match=r"session id .* must be a UUID"):
            check_ids([session_id(1), given], "session")
