"""What a session's body raises of its own is not the database's: it leaves as it is, and is not tried again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NoReturn

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from scheduler_repo.database.connecting import connect
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession, driver_connection
from scheduler_repo.errors import (
    ConstraintViolated,
    DatabaseError,
    DatabaseTimeout,
    DatabaseUnavailable,
    SchedulerRepoError,
)
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.retry import RetryArgs, RetryPolicy
from scheduler_repo.resilience.resilience import Resilience
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.interruptions import checked_out
from tests.support.wire_proxy import WireProxy

_INSERT = "INSERT INTO notes VALUES (1, 'words')"


def _every_builtin(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(child for parent in kind.__subclasses__() for child in _every_builtin(parent))]


# All of Python's own classes that a driver may raise too; those of other packages are not loaded here for sure.
AMBIGUOUS = [
    kind
    for parent in (OSError, ArithmeticError)
    for kind in _every_builtin(parent)
    if kind.__module__ in ("builtins", "socket", "ssl")
]


class TestOwnErrors:
    @pytest.mark.parametrize("way", ["begin_session", "begin_readonly_session"])
    async def test_every_class_leaves_as_it_is(
        self, engine: ExtendedAsyncSAEngine, proxy: WireProxy, way: str
    ) -> None:
        async def fail(own: Exception) -> None:
            async with getattr(engine, way)() as db_sess:
                assert await driver_connection(db_sess).fetchval("SELECT 1") == 1
                raise own

        for kind in AMBIGUOUS:
            own = kind("of the body")
            async with engine.begin_readonly_session():
                connections = proxy.connections

            with pytest.raises(kind) as caught:
                await fail(own)

            assert caught.value is own
            assert caught.value.__cause__ is None
            assert checked_out(engine) == 0
            # The connection is not to blame; only a timeout may have cut off what it was doing.
            async with engine.begin_readonly_session():
                assert proxy.connections - connections == issubclass(kind, TimeoutError)

    @pytest.mark.parametrize("kind", OperationKind)
    async def test_missing_file_is_looked_for_once(
        self, engine: ExtendedAsyncSAEngine, tmp_path: Path, kind: OperationKind
    ) -> None:
        tries: list[int] = []

        @Resilience([RetryPolicy(RetryArgs(retry_delay=0, jitter=0))]).apply(kind)
        async def read_file() -> str:
            async with engine.begin_session():
                tries.append(1)
                return (tmp_path / "missing").read_text()

        with pytest.raises(FileNotFoundError):
            await read_file()

        assert tries == [1]

    async def test_timeout_around_a_statement_is_the_bodys(self, engine: ExtendedAsyncSAEngine) -> None:
        async def wait() -> None:
            async with engine.begin_session() as db_sess, asyncio.timeout(0.05):
                await driver_connection(db_sess).execute("SELECT pg_sleep(60)")

        with pytest.raises(TimeoutError) as caught:
            await wait()

        assert type(caught.value) is TimeoutError
        assert checked_out(engine) == 0
        async with engine.begin_readonly_session() as db_sess:
            assert await driver_connection(db_sess).fetchval("SELECT 1") == 1

    async def test_file_to_copy_from(self, engine: ExtendedAsyncSAEngine, tmp_path: Path) -> None:
        async def copy() -> None:
            async with engine.begin_session() as db_sess:
                await driver_connection(db_sess).copy_to_table("notes", source=tmp_path / "missing")

        with pytest.raises(FileNotFoundError):
            await copy()

    async def test_source_of_a_copy(self, engine: ExtendedAsyncSAEngine) -> None:
        async def ask_agent() -> AsyncIterator[bytes]:
            yield b"1\twords\n"
            raise ConnectionResetError("of the agent")

        async def copy() -> None:
            async with engine.begin_session() as db_sess:
                await driver_connection(db_sess).copy_to_table("notes", source=ask_agent())

        with pytest.raises(ConnectionResetError, match="of the agent"):
            await copy()


async def _ask_other_database(url: str) -> None:
    other = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await other.execute("SELECT * FROM nowhere")
    finally:
        await other.close()


async def _ask_through_sqlalchemy(url: str) -> None:
    other = sa.create_engine("sqlite://")
    try:
        with other.connect() as connection:
            connection.execute(sa.text("SELECT * FROM nowhere"))
    finally:
        other.dispose()


async def _ask_through_another_engine(url: str) -> None:
    other = create_async_engine(url)
    try:
        async with other.connect() as connection:
            await connection.execute(sa.text("SELECT * FROM nowhere"))
    finally:
        await other.dispose()


async def _wait_for_another_pool(url: str) -> None:
    other = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    try:
        async with other.connect():
            await other.connect()
    finally:
        await other.dispose()


async def _fail_to_connect(url: str) -> NoReturn:
    await asyncpg.connect(host="127.0.0.1", port=1, user="nobody", database="nowhere")
    raise LookupError


class TestOtherDatabases:
    @pytest.mark.parametrize(
        ("ask", "expected"),
        [
            (_ask_other_database, asyncpg.UndefinedTableError),
            (_ask_through_sqlalchemy, sa.exc.OperationalError),
            (_ask_through_another_engine, sa.exc.ProgrammingError),
            (_wait_for_another_pool, sa.exc.TimeoutError),
            (_fail_to_connect, OSError),
        ],
    )
    async def test_their_errors_are_not_this_ones(
        self,
        engine: ExtendedAsyncSAEngine,
        notes_database: Database,
        ask: Callable[[str], Awaitable[None]],
        expected: type[Exception],
    ) -> None:
        async def ask_in_a_session() -> None:
            async with engine.begin_session():
                await ask(notes_database.url_as(ADMIN))

        with pytest.raises(expected) as caught:
            await ask_in_a_session()

        assert not isinstance(caught.value, SchedulerRepoError)


async def _lose(db_sess: SASession) -> None:
    driver = driver_connection(db_sess)
    await driver.execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def _time_out(db_sess: SASession) -> None:
    await driver_connection(db_sess).fetch("SELECT pg_sleep(60)", timeout=0.05)


async def _time_out_in_a_statement(db_sess: SASession) -> None:
    statement = await driver_connection(db_sess).prepare("SELECT pg_sleep(60)")
    await statement.fetch(timeout=0.05)


async def _time_out_in_a_cursor(db_sess: SASession) -> None:
    async for _ in driver_connection(db_sess).cursor("SELECT pg_sleep(60)", timeout=0.05):
        pass


async def _time_out_in_a_task(db_sess: SASession) -> None:
    await asyncio.gather(_time_out(db_sess))


async def _break_a_constraint(db_sess: SASession) -> None:
    await driver_connection(db_sess).execute(f"{_INSERT}, (1, 'again')")


async def _break_a_constraint_by_sqlalchemy(db_sess: SASession) -> None:
    await db_sess.execute(sa.text(f"{_INSERT}, (1, 'again')"))


async def _date_that_python_has_not(db_sess: SASession) -> None:
    await driver_connection(db_sess).fetchval("SELECT timestamptz '294276-01-01'")


class TestErrorsOfTheDriver:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (_lose, DatabaseUnavailable),
            (_time_out, DatabaseTimeout),
            (_time_out_in_a_statement, DatabaseTimeout),
            (_time_out_in_a_cursor, DatabaseTimeout),
            (_time_out_in_a_task, DatabaseTimeout),
            (_break_a_constraint, ConstraintViolated),
            (_break_a_constraint_by_sqlalchemy, ConstraintViolated),
            (_date_that_python_has_not, DatabaseError),
        ],
    )
    async def test_they_are_translated(
        self,
        engine: ExtendedAsyncSAEngine,
        body: Callable[[SASession], Awaitable[None]],
        expected: type[SchedulerRepoError],
    ) -> None:
        async def run() -> None:
            async with engine.begin_session() as db_sess:
                await body(db_sess)

        with pytest.raises(expected) as caught:
            await run()

        assert type(caught.value) is expected
        assert checked_out(engine) == 0


class TestConnection:
    """A connection outside the engine's sessions, as for work on the schema."""

    async def test_own_errors_leave_as_they_are(self, notes_database: Database, tmp_path: Path) -> None:
        settings = DatabaseSettings(url=SecretUrl(notes_database.url_as(SCHEDULER)))

        async def read_file() -> None:
            async with connect(settings):
                (tmp_path / "missing").read_text()

        with pytest.raises(FileNotFoundError):
            await read_file()

    async def test_errors_of_the_database_name_it(self, notes_database: Database) -> None:
        settings = DatabaseSettings(url=SecretUrl(notes_database.url_as(SCHEDULER)))

        async def ask() -> None:
            async with connect(settings) as connection:
                await connection.execute(sa.text("SELECT * FROM nowhere"))

        with pytest.raises(DatabaseError, match=notes_database.name):
            await ask()
