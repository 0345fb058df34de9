"""Every error of the driver, made to happen, leaves the engine as one of the package's own."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import pytest
import sqlalchemy as sa

from scheduler_repo import errors
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.testing.memory_folder import memory_folder
from tests.support.databases import ADMIN, READER, SCHEDULER, Database
from tests.support.observation import refused_port
from tests.support.waiting import PATIENCE

PASSWORD: Final = "hunter2secret"  # noqa: S105 - of no server

Outside = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    sa.exc.SQLAlchemyError,
)
Statement = tuple[str, tuple[object, ...]]


@asynccontextmanager
async def engine_for(
    url: str,
    *,
    connect_timeout: float = PATIENCE,
    statement_timeout: float = PATIENCE,
    lock_timeout: float = PATIENCE,
) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """An engine that waits for as long as it takes, but for the bounds given."""
    engine = create_engine(
        DatabaseSettings(
            url=SecretUrl(url),
            pool_size=2,
            pool_timeout=PATIENCE,
            connect_timeout=connect_timeout,
            statement_timeout=statement_timeout,
            lock_timeout=lock_timeout,
        )
    )
    try:
        yield engine
    finally:
        await engine.dispose()


async def _run(engine: ExtendedAsyncSAEngine, statement: str, *parameters: object) -> None:
    async with engine.begin_session() as db_sess:
        await driver_connection(db_sess).fetch(statement, *parameters)


async def _run_through_sqlalchemy(engine: ExtendedAsyncSAEngine, statement: str, *parameters: object) -> None:
    text = re.sub(r"\$(\d)", r":p\1", statement)
    async with engine.begin_session() as db_sess:
        await db_sess.execute(sa.text(text), {f"p{n}": value for n, value in enumerate(parameters, start=1)})


async def _failure(call: Awaitable[None]) -> errors.SchedulerRepoError:
    """The error of a call, which must be the package's, in one line, without the password."""
    with pytest.raises(errors.SchedulerRepoError) as caught:
        await call
    error = caught.value
    assert isinstance(error.__cause__, Outside)
    assert str(error).strip()
    assert "\n" not in str(error)
    assert PASSWORD not in f"{error} {error!r}"
    return error


Runner = Callable[..., Awaitable[None]]
BOTH = pytest.mark.parametrize("run", [_run, _run_through_sqlalchemy])


class TestStatements:
    @pytest.fixture
    async def engine(self, notes_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        """An engine of the scheduler's role."""
        async with engine_for(notes_database.url_as(SCHEDULER)) as made:
            yield made

    @BOTH
    @pytest.mark.parametrize(
        ("statement", "expected", "words"),
        [
            ("SELECT * FROM nowhere", errors.SchemaMismatch, "42P01"),
            ("SELECT nothing FROM notes", errors.SchemaMismatch, "42703"),
            ("DELETE FROM notes", errors.PermissionDenied, "42501"),
            ("INSERT INTO notes VALUES (1, NULL)", errors.ConstraintViolated, "23502"),
            ("INSERT INTO notes VALUES (1, ''), (1, '')", errors.ConstraintViolated, "notes_pkey"),
            ("SELECT 1 / 0", errors.InvalidInput, "22012"),
            ("SELECT FROM FROM", errors.DatabaseError, "42601"),
            ("SELECT '{\"a\n\"'::json", errors.InvalidInput, "22P02"),
        ],
    )
    async def test_by_sqlstate(
        self,
        engine: ExtendedAsyncSAEngine,
        run: Runner,
        statement: str,
        expected: type[errors.SchedulerRepoError],
        words: str,
    ) -> None:
        error = await _failure(run(engine, statement))

        assert type(error) is expected
        assert words in str(error)

    @BOTH
    @pytest.mark.parametrize(
        ("statement", "value"),
        [
            ("INSERT INTO notes VALUES (1, $1)", "a\0b"),
            ("INSERT INTO notes VALUES ($1, '')", 2**31),
            ("INSERT INTO notes VALUES ($1, '')", 2**63),
            ("INSERT INTO notes VALUES ($1, '')", "one\ntwo"),
            ("INSERT INTO notes VALUES (1, $1)", "\ud800"),
        ],
    )
    async def test_value_that_does_not_fit(
        self, engine: ExtendedAsyncSAEngine, run: Runner, statement: str, value: object
    ) -> None:
        assert type(await _failure(run(engine, statement, value))) is errors.InvalidInput

    async def test_write_in_a_readonly_session(self, engine: ExtendedAsyncSAEngine) -> None:
        async def write() -> None:
            async with engine.begin_readonly_session() as db_sess:
                await driver_connection(db_sess).execute("INSERT INTO notes VALUES (1, '')")

        assert type(await _failure(write())) is errors.DatabaseReadOnly

    @BOTH
    async def test_statement_timeout_of_the_client(self, notes_database: Database, run: Runner) -> None:
        async with engine_for(notes_database.url_as(SCHEDULER), statement_timeout=0.5) as engine:
            error = await _failure(run(engine, "SELECT pg_sleep(60)"))

        assert type(error) is errors.DatabaseTimeout

    async def test_lock_timeout(self, notes_database: Database) -> None:
        async with (
            notes_database.connect_as(ADMIN) as locker,
            engine_for(notes_database.url_as(SCHEDULER), lock_timeout=0.3) as engine,
        ):
            await locker.execute(sa.text("LOCK TABLE notes"))

            error = await _failure(_run(engine, "SELECT * FROM notes"))

        assert type(error) is errors.DatabaseTimeout
        assert "55P03" in str(error)

    async def test_statement_timeout_of_the_server(self, engine: ExtendedAsyncSAEngine) -> None:
        async def sleep() -> None:
            async with engine.begin_session() as db_sess:
                await driver_connection(db_sess).execute("SET LOCAL statement_timeout = 50")
                await driver_connection(db_sess).execute("SELECT pg_sleep(30)")

        error = await _failure(sleep())

        assert type(error) is errors.DatabaseTimeout
        assert "57014" in str(error)

    async def test_deadlock(self, engine: ExtendedAsyncSAEngine, notes_database: Database) -> None:
        # given a server that looks for deadlocks soon
        name = notes_database.name
        await notes_database.run_as(ADMIN, f"ALTER DATABASE {name} SET deadlock_timeout = '50ms'")
        await _run(engine, "INSERT INTO notes VALUES (1, ''), (2, '')")
        both_have_one = asyncio.Barrier(2)
        update = "UPDATE notes SET words = 'x' WHERE id = $1"

        async def lock(first: int, second: int) -> None:
            async with engine.begin_session() as db_sess:
                driver = driver_connection(db_sess)
                await driver.execute("SET LOCAL lock_timeout = 0")
                await driver.execute("SET LOCAL statement_timeout = 0")
                await driver.execute(update, first)
                await both_have_one.wait()
                await driver.execute(update, second, timeout=PATIENCE)

        ends = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)

        (error,) = [end for end in ends if end is not None]
        assert type(error) is errors.TransactionConflict
        assert "40P01" in str(error)

    async def test_serialisation_failure(self, engine: ExtendedAsyncSAEngine) -> None:
        await _run(engine, "INSERT INTO notes VALUES (1, '')")

        async def lose() -> None:
            async with engine.begin_session() as db_sess:
                driver = driver_connection(db_sess)
                await driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                await driver.fetch("SELECT * FROM notes")
                await _run(engine, "UPDATE notes SET words = 'x'")
                await driver.execute("UPDATE notes SET words = 'y'")

        error = await _failure(lose())

        assert type(error) is errors.TransactionConflict
        assert "40001" in str(error)

    async def test_readonly_database(self, engine: ExtendedAsyncSAEngine, notes_database: Database) -> None:
        """A standby refuses even BEGIN READ WRITE; here each session is made to start read-only."""

        async def write() -> None:
            async with engine.begin_session() as db_sess:
                await driver_connection(db_sess).execute("SET TRANSACTION READ ONLY")
                await driver_connection(db_sess).execute("INSERT INTO notes VALUES (1, '')")

        assert type(await _failure(write())) is errors.DatabaseReadOnly

    async def test_error_of_the_body_is_left_alone(self, engine: ExtendedAsyncSAEngine) -> None:
        own = ValueError("of the body")

        async def fail() -> None:
            async with engine.begin_session():
                raise own

        with pytest.raises(ValueError, match="of the body") as caught:
            await fail()

        assert caught.value is own
        assert caught.value.__cause__ is None


class TestReach:
    async def test_wrong_database(self, notes_database: Database) -> None:
        url = sa.make_url(notes_database.url_as(SCHEDULER)).set(database="nowhere")
        async with engine_for(url.render_as_string(hide_password=False)) as engine:
            error = await _failure(_run(engine, "SELECT 1"))

        assert type(error) is errors.DatabaseUnavailable
        assert "nowhere" in str(error)

    async def test_role_that_does_not_exist(self, notes_database: Database) -> None:
        async with engine_for(notes_database.url_as("nobody_of_this_name")) as engine:
            error = await _failure(_run(engine, "SELECT 1"))

        assert type(error) is errors.DatabaseUnavailable
        assert "login" in str(error)

    async def test_too_many_connections(self, empty_database: Database) -> None:
        await empty_database.run_as(ADMIN, f"ALTER DATABASE {empty_database.name} CONNECTION LIMIT 1")
        async with engine_for(empty_database.url_as(SCHEDULER)) as engine, engine.begin_session():
            error = await _failure(_run(engine, "SELECT 1"))

        assert type(error) is errors.TooManyConnections
        assert "53300" in str(error)

    async def test_role_that_may_not_connect(self, notes_database: Database) -> None:
        await notes_database.run_as(
            ADMIN, f"REVOKE CONNECT ON DATABASE {notes_database.name} FROM PUBLIC, {READER}"
        )
        async with engine_for(notes_database.url_as(READER)) as engine:
            error = await _failure(_run(engine, "SELECT 1"))

        assert type(error) is errors.PermissionDenied

    async def test_readonly_by_default(self, notes_database: Database) -> None:
        await notes_database.run_as(
            ADMIN, f"ALTER DATABASE {notes_database.name} SET default_transaction_read_only = on"
        )
        async with engine_for(notes_database.url_as(SCHEDULER)) as engine:
            # An administrator has frozen it: the engine's own BEGIN must not override that.
            error = await _failure(_run(engine, "INSERT INTO notes VALUES (1, '')"))

        assert type(error) is errors.DatabaseReadOnly

    async def test_no_socket(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = tmp_path_factory.mktemp("empty")
        async with engine_for(f"postgresql://u:{PASSWORD}@/db?host={folder}") as engine:
            assert type(await _failure(_run(engine, "SELECT 1"))) is errors.DatabaseUnavailable

    async def test_unknown_host(self) -> None:
        async with engine_for(f"postgresql://u:{PASSWORD}@host.invalid:5432/db") as engine:
            assert type(await _failure(_run(engine, "SELECT 1"))) is errors.DatabaseUnavailable


class TestNotPostgres:
    async def _failure_at(
        self,
        answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        connect_timeout: float = 1.0,
    ) -> errors.SchedulerRepoError:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                await answer(reader, writer)
            writer.close()

        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            url = f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/db"
            async with engine_for(url, connect_timeout=connect_timeout) as engine:
                error = await _failure(_run(engine, "SELECT 1"))
        return error

    async def test_refused_port(self) -> None:
        with refused_port() as port:
            async with engine_for(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/db") as engine:
                error = await _failure(_run(engine, "SELECT 1"))

        assert type(error) is errors.DatabaseUnavailable
        assert str(port) in str(error)

    @pytest.mark.parametrize(
        "garbage",
        [
            b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20,
            b"-ERR unknown command\r\n",
            b"SSH-2.0-OpenSSH_9.9\r\n",
            b"N" + b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"NE\0\0\0\x08\xff\xff\xff\xff",
            b"\0" * 64,
        ],
    )
    async def test_garbage(self, garbage: bytes) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(garbage)
            await reader.read()

        error = await self._failure_at(answer)

        assert type(error) in (errors.DatabaseUnavailable, errors.DatabaseTimeout)

    async def test_immediate_close(self) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        assert type(await self._failure_at(answer)) is errors.DatabaseUnavailable

    async def test_silence(self) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        assert type(await self._failure_at(answer, 0.2)) is errors.DatabaseTimeout


class TestPassword:
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, unused_tcp_port_factory: Callable[[], int]) -> Iterator[EmbeddedPostgres]:
        """A server that asks for passwords, over TCP."""
        with EmbeddedPostgres(port=unused_tcp_port_factory(), parent=memory_folder()) as running:
            yield running

    async def test_wrong_password(self, server: EmbeddedPostgres) -> None:
        url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{server.port}/postgres"
        async with engine_for(url) as engine:
            error = await _failure(_run(engine, "SELECT 1"))

        assert type(error) is errors.DatabaseUnavailable
        assert "login" in str(error)

    async def test_no_password(self, server: EmbeddedPostgres) -> None:
        async with engine_for(f"postgresql://postgres@127.0.0.1:{server.port}/postgres") as engine:
            assert type(await _failure(_run(engine, "SELECT 1"))) is errors.DatabaseUnavailable

    async def test_role_without_login(self, server: EmbeddedPostgres) -> None:
        async with engine_for(server.url("postgres", "postgres")) as engine:
            await _run(
                engine, "DO $$ BEGIN IF to_regrole('idler') IS NULL THEN CREATE ROLE idler; END IF; END $$"
            )
        async with engine_for(server.url("postgres", "idler")) as engine:
            assert type(await _failure(_run(engine, "SELECT 1"))) is errors.DatabaseUnavailable
