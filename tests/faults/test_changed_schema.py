"""A table altered under a running service: no public method fails, on any pooled connection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession, create_engine, driver_connection
from scheduler_repo.entities.scaling_group import ScalingGroupChanges
from scheduler_repo.errors import SchemaChanged, SchemaMismatch, TransactionConflict
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.retry import RetryArgs, RetryPolicy
from scheduler_repo.resilience.resilience import Resilience
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.interruptions import checked_out

POOL_SIZE = 3


@pytest.fixture
async def engine(notes_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """An engine whose connections are all made."""
    made = create_engine(DatabaseSettings(url=SecretUrl(notes_database.url_as(SCHEDULER)), pool_size=POOL_SIZE))
    yield made
    await made.dispose()


async def _on_every_connection(
    engine: ExtendedAsyncSAEngine, body: Callable[[SASession], Awaitable[object]]
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(POOL_SIZE):
            await body(await stack.enter_async_context(engine.begin_session()))


async def _by_the_driver(db_sess: SASession) -> list[object]:
    return [tuple(row) for row in await driver_connection(db_sess).fetch("SELECT * FROM notes")]


async def _by_sqlalchemy(db_sess: SASession) -> list[object]:
    return [tuple(row) for row in await db_sess.execute(sa.text("SELECT * FROM notes"))]


async def _by_a_parameter(db_sess: SASession) -> list[object]:
    rows = await driver_connection(db_sess).fetch("SELECT id::text FROM notes WHERE words = $1", "words")
    return [tuple(row) for row in rows]


ALTERED = [
    # The answer has another type, or more columns.
    (_by_the_driver, "ALTER TABLE notes ALTER COLUMN id TYPE bigint", (1, "words")),
    (_by_the_driver, "ALTER TABLE notes ADD COLUMN more int DEFAULT 3", (1, "words", 3)),
    (_by_sqlalchemy, "ALTER TABLE notes ALTER COLUMN id TYPE bigint", (1, "words")),
    (_by_sqlalchemy, "ALTER TABLE notes ADD COLUMN more int DEFAULT 3", (1, "words", 3)),
    # The parameter has another type: the statement as it was prepared never works again.
    (
        _by_a_parameter,
        "CREATE TYPE word AS ENUM ('words'); ALTER TABLE notes ALTER COLUMN words TYPE word USING words::word",
        ("1",),
    ),
]


class TestAlteredTable:
    @pytest.mark.parametrize("kind", [OperationKind.READ, OperationKind.WRITE])
    @pytest.mark.parametrize(("ask", "change", "answer"), ALTERED)
    async def test_every_call_is_answered(
        self,
        engine: ExtendedAsyncSAEngine,
        notes_database: Database,
        ask: Callable[[SASession], Awaitable[list[object]]],
        change: str,
        answer: tuple[object, ...],
        kind: OperationKind,
    ) -> None:
        # given a service whose connections have all prepared the statement
        tries: list[int] = []

        @Resilience([RetryPolicy(RetryArgs(retry_delay=0, jitter=0))]).apply(kind)
        async def call() -> list[object]:
            tries.append(1)
            async with engine.begin_session() as db_sess:
                return await ask(db_sess)

        await notes_database.run_as(ADMIN, "INSERT INTO notes VALUES (1, 'words')")
        await _on_every_connection(engine, ask)
        # when
        await notes_database.run_as(ADMIN, change)
        # then
        assert await asyncio.gather(*(call() for _ in range(2 * POOL_SIZE))) == [[answer]] * (2 * POOL_SIZE)
        assert len(tries) <= 3 * POOL_SIZE
        assert checked_out(engine) == 0

    async def test_one_call_tells_of_all_connections(
        self, engine: ExtendedAsyncSAEngine, notes_database: Database
    ) -> None:
        await _on_every_connection(engine, _by_the_driver)
        await notes_database.run_as(ADMIN, "ALTER TABLE notes ALTER COLUMN id TYPE bigint")

        with pytest.raises(SchemaChanged, match="try again") as caught:
            await _on_every_connection(engine, _by_the_driver)

        assert isinstance(caught.value, TransactionConflict)
        await _on_every_connection(engine, _by_the_driver)

    async def test_what_is_missing_is_asked_for_at_most_twice(
        self, engine: ExtendedAsyncSAEngine, notes_database: Database
    ) -> None:
        tries: list[int] = []

        @Resilience([RetryPolicy(RetryArgs(retry_delay=0, jitter=0))]).apply(OperationKind.READ)
        async def call() -> None:
            tries.append(1)
            async with engine.begin_session() as db_sess:
                await driver_connection(db_sess).fetch("SELECT no_such_function()")

        await _on_every_connection(engine, _by_the_driver)
        with pytest.raises(SchemaMismatch):
            await call()

        assert len(tries) <= 2


class TestPublicMethods:
    async def test_migration_under_a_running_service(self, migrated_database: Database) -> None:
        # given
        url = SecretUrl(migrated_database.url_as(SCHEDULER))
        engine = create_engine(DatabaseSettings(url=url, pool_size=POOL_SIZE))
        await migrated_database.run_as(ADMIN, "INSERT INTO scaling_groups (name) VALUES ('group')")
        repository = ScalingGroupRepository(ScalingGroupDBSource(engine))
        name = ScalingGroupName("group")
        before = await asyncio.gather(*(repository.get_scaling_group(name) for _ in range(POOL_SIZE)))
        # when
        await migrated_database.run_as(
            ADMIN, "ALTER TABLE scaling_groups ALTER COLUMN pending_timeout TYPE interval(3)"
        )
        # then reads and writes go on
        assert await asyncio.gather(*(repository.get_scaling_group(name) for _ in range(POOL_SIZE))) == before
        await repository.update_scaling_group(name, ScalingGroupChanges(is_active=False))
        assert not (await repository.get_scaling_group(name)).is_active
        await engine.dispose()
