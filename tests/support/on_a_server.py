"""Writes of the tests' own, as a user of IdempotentWrite makes them, and what they leave."""

from collections.abc import Awaitable, Callable
from typing import Final, Optional, TypeVar

import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.resilience.operation import OperationKind, current_operation
from scheduler_repo.resilience.policies.retry import RetryArgs, RetryPolicy
from scheduler_repo.resilience.resilience import Policy, Resilience
from scheduler_repo.types import OperationId
from tests.support.databases import SCHEDULER, DriverConnection
from tests.support.figures import LayerFigures
from tests.support.small_cluster import session, session_id
from tests.support.wire_proxy import MARK

AGENT: Final = "agent"

# The history of a session that was allocated.
ALLOCATED = [(None, "PENDING"), ("PENDING", "SCHEDULED")]


RAISE_PRIORITY: Final = f"UPDATE sessions SET priority = priority + 1 WHERE id = :id {MARK}"


TERMINATE: Final = f"""
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE usename = '{SCHEDULER}' AND datname = current_database()
"""


R = TypeVar("R")


_KIND = IdempotentWrite("raise_priority", bool)


class NotingOperationIds(Policy):
    """Notes under which operation id each try has written."""

    def __init__(self) -> None:
        self.noted: list[Optional[OperationId]] = []

    async def execute(self, call: Callable[[], Awaitable[R]]) -> R:
        operation = current_operation()
        assert operation is not None
        try:
            return await call()
        finally:
            self.noted.append(operation.operation_id)


class Raiser:
    """Raises the priority of sessions by one, under a Resilience of its own."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        self.figures = LayerFigures()
        self.operation_ids = NotingOperationIds()
        retry = RetryPolicy(RetryArgs(retry_delay=0.01))
        resilience = Resilience([self.figures.policy, retry, self.operation_ids])
        self._engine = engine
        self.raise_priority = resilience.apply(OperationKind.WRITE)(self._raise_priority)

    async def _raise_priority(
        self, *numbers: int, between: Optional[Callable[[], Awaitable[object]]] = None
    ) -> None:
        """Raise one session after the other, in one transaction."""

        async def work(write: WriteTransaction) -> bool:
            for number in numbers:
                await write.db_sess.execute(sa.text(RAISE_PRIORITY), {"id": session_id(number)})
                if between is not None and number != numbers[-1]:
                    await between()
            return True

        await _KIND.run(self._engine, work, request=numbers)


async def raised(owner: DriverConnection) -> list[int]:
    """By how much the priorities of all sessions were raised, in the order of their numbers."""
    rows = await owner.fetch("SELECT priority FROM sessions ORDER BY id")
    return [row["priority"] - session(0).priority for row in rows]


async def count_operations(connection: DriverConnection) -> int:
    """Those of the test, not of the loading."""
    return int(await connection.fetchval("SELECT count(*) FROM operations WHERE kind <> 'load_cluster'"))
