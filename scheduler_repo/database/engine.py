"""The engine: a pool of connections, and the two transactions that everything runs in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NoReturn, Optional

import asyncpg
import sqlalchemy as sa
from sqlalchemy import AdaptedConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from scheduler_repo.cancellation import run_to_end
from scheduler_repo.database.errors import find_driver_error, outcome_is_known, translated_errors
from scheduler_repo.errors import (
    DatabaseError,
    EngineClosed,
    InvalidInput,
    OutcomeUnknown,
    PoolerInTheWay,
    WrongEventLoop,
)
from scheduler_repo.metrics.pools import watch_pool
from scheduler_repo.settings import DatabaseSettings
from scheduler_repo.wiring import check_wiring

__all__ = ["ExtendedAsyncSAEngine", "SASession", "create_engine", "driver_connection"]

_BEGIN_READONLY = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Not READ WRITE: a database that its administrator has made read-only stays so.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_DRIVER_KEY = "driver_connection"
# A rollback is one short round trip; a server that takes longer is not worth waiting for.
_ROLLBACK_SECONDS = 2.0
_CLIENT_CHECK_SECONDS = 1.0
# The hot rows are in memory: read them in index order, do not sort, do not compile. A plan made without the
# parameters searches an array of ids for every row: a batch in a long queue took three times as long. A
# parallel worker takes 5 ms to start, for reads that take 10; where 50,000 kernels run, it wins nothing either.
PLANNER_SETTINGS = {
    "random_page_cost": "1.1",
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",
    "max_parallel_workers_per_gather": "0",
}
# A named statement may be another client's on the server connection that the next transaction gets. An unnamed
# one is parsed and run within one transaction, so no version and no setting of the pooler matters.
_UNNAMED_STATEMENTS = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": str,
    # Else the driver may ask, outside any transaction, what server this is.
    "target_session_attrs": "any",
}


class SASession(AsyncSession):
    """A session inside the engine's own transaction, which ends where the session's block ends.

    It is committed there, or rolled back by an exception; commit() and rollback() raise InvalidInput.
    """

    async def commit(self) -> NoReturn:
        raise InvalidInput("the transaction is committed at the end of begin_session(); leave commit() out")

    async def rollback(self) -> NoReturn:
        raise InvalidInput("raise an exception to roll begin_session() back, or use begin_nested()")


def driver_connection(db_sess: SASession) -> "asyncpg.Connection[asyncpg.Record]":
    """Return the asyncpg connection that carries ``db_sess``, inside its transaction."""
    connection: asyncpg.Connection[asyncpg.Record] = db_sess.info[_DRIVER_KEY]
    return connection


class ExtendedAsyncSAEngine(AsyncEngine):
    """An AsyncEngine whose sessions begin at once, and whose pool never gets a connection back in doubt.

    The transaction is the driver's own, begun before the session is handed out, so that statements through
    SQLAlchemy and statements straight through the driver share it. Make one with ``create_engine``.
    """

    # How long a lost COMMIT is asked after, and how long a stopped client keeps its transaction; seconds.
    resolve_timeout: float = 30.0
    idle_in_transaction_timeout: float = 10.0
    _bounds: str = ""
    _callers_waiting: int = 0
    _event_loop: Optional[asyncio.AbstractEventLoop] = None
    _is_closed: bool = False

    @property
    def pool_size(self) -> int:
        """How many connections the pool may have at most."""
        return self._queue_pool.size()

    @property
    def connections_in_use(self) -> int:
        """How many connections are out of the pool now, those included that are just being made."""
        return self._queue_pool.checkedout()

    @property
    def callers_waiting(self) -> int:
        """How many callers wait for a connection now; one that was cancelled or gave up does not count."""
        return self._callers_waiting

    @property
    def _queue_pool(self) -> sa.QueuePool:
        pool = self.pool
        if not isinstance(pool, sa.QueuePool):
            raise TypeError(f"the engine needs a pool of bounded size, this is a {type(pool).__name__}")
        return pool

    def connect(self) -> AsyncConnection:
        """Return a connection outside the engine's own sessions, as for work on the schema.

        Raises EngineClosed, and WrongEventLoop in another event loop than the engine was first used in.
        """
        if self._is_closed:
            raise EngineClosed(
                "the engine was closed, by dispose() or at the end of its open_repositories() block; use it "
                "before that, or make another"
            )
        self._event_loop = self._check_event_loop()
        return super().connect()

    async def dispose(self, close: bool = True) -> None:
        """Close the engine for good, with all idle connections; those in use are closed when they come back.

        ``close=False`` is for a forked process: it leaves the parent's connections alone, and the engine is as
        new. Raises WrongEventLoop as ``connect`` does.
        """
        if close:
            self._check_event_loop()
            # The pool that is left behind would keep what is in use now.
            sa.event.listen(self.pool, "checkin", lambda _adapted, record: record.invalidate())
        self._is_closed = close
        self._event_loop = None
        await super().dispose(close)

    def begin_readonly_session(self) -> AbstractAsyncContextManager[SASession]:
        """Open a session that reads one snapshot: REPEATABLE READ, READ ONLY, enforced by the server.

        Raises DatabaseUnavailable, DatabaseTimeout, DatabaseReadOnly (for a write inside it) and the other
        errors of the database layer; costs two round trips besides the statements inside.
        """
        return self._begin(_BEGIN_READONLY)

    def begin_session(self) -> AbstractAsyncContextManager[SASession]:
        """Open a session that writes: READ COMMITTED, committed at the end, rolled back on any exception.

        Raises DatabaseUnavailable, OutcomeUnknown (the connection was lost at COMMIT), DatabaseTimeout,
        TransactionConflict, ConstraintViolated and the other errors of the database layer; costs two round
        trips besides the statements inside.
        """
        return self._begin(_BEGIN)

    @asynccontextmanager
    async def _begin(self, begin: str) -> AsyncIterator[SASession]:
        with translated_errors():
            connection = await self._check_out()
            try:
                driver = await get_driver(connection)
                # The bounds ride in BEGIN's own message, and end with the transaction.
                await driver.execute(f"{begin};{self._bounds}")
                db_sess = SASession(bind=connection, expire_on_commit=False, info={_DRIVER_KEY: driver})
                yield db_sess
                await db_sess.flush()
                try:
                    await _commit(driver)
                except Exception as error:
                    if begin == _BEGIN_READONLY or outcome_is_known(error):
                        raise
                    raise OutcomeUnknown(
                        "the connection was lost at COMMIT: all was written, or nothing; "
                        "ask again under the same operation id"
                    ) from error
            except BaseException as error:
                await run_to_end(_give_back_failed(connection, error))
                raise
            await run_to_end(_give_back(connection))

    async def _check_out(self) -> AsyncConnection:
        # Cancelling a caller must not tear a connection that is just being made: it is finished, and kept.
        checkout = asyncio.ensure_future(self._autocommit_connection())
        self._callers_waiting += 1
        try:
            return await asyncio.shield(checkout)
        except asyncio.CancelledError:
            checkout.add_done_callback(_give_back_unused)
            raise
        finally:
            self._callers_waiting -= 1

    def _check_event_loop(self) -> asyncio.AbstractEventLoop:
        """Return the running event loop; raises WrongEventLoop if it is not the engine's."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError as error:
            raise WrongEventLoop("no event loop is running; use the engine in a coroutine") from error
        if self._event_loop is not None and self._event_loop is not running:
            raise WrongEventLoop(
                "the engine was first used in another event loop, and its connections belong to that one; make "
                "an engine, or open the repositories, in each event loop and thread"
            )
        return running

    async def _autocommit_connection(self) -> AsyncConnection:
        # SQLAlchemy must not begin a transaction of its own inside the driver's.
        connection = await self.connect()
        return await connection.execution_options(isolation_level="AUTOCOMMIT")


def create_engine(settings: DatabaseSettings) -> ExtendedAsyncSAEngine:
    """Make an engine with its pool, which the metrics show; connects to nothing yet.

    Every wait has a bound: pool checkout, connect, statement, lock, idle in transaction (all in seconds). The
    server's bounds are set in each transaction and not at start-up: a pooler may refuse them there, drop them
    without a word, or give them to another client. That costs about 10 µs a transaction, and no round trip.
    Raises InvalidWiring for what is no DatabaseSettings, such as a URL.
    """
    check_wiring(settings, DatabaseSettings, "settings", "DatabaseSettings(url=SecretUrl(...))")
    bounds = {
        "statement_timeout": _milliseconds(settings.statement_timeout),
        "lock_timeout": _milliseconds(settings.lock_timeout),
        "idle_in_transaction_session_timeout": _milliseconds(settings.idle_in_transaction_timeout),
        # In a zone with summer time a day is not always 24 hours long.
        "TimeZone": "UTC",
        # A statement whose caller is gone must end, not hold its locks until the statement timeout.
        "client_connection_check_interval": _milliseconds(_CLIENT_CHECK_SECONDS),
        **PLANNER_SETTINGS,
    }
    set_bounds = [f"SET LOCAL {name} = '{value}'" for name, value in bounds.items()]
    engine = create_async_engine(
        settings.sqlalchemy_url(),
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout,
        pool_use_lifo=True,
        connect_args={
            "timeout": settings.connect_timeout,
            "command_timeout": settings.statement_timeout,
            "server_settings": {"application_name": settings.application_name},
            **(_UNNAMED_STATEMENTS if settings.pooler == "transaction" else {}),
        },
    )
    if settings.pooler is None:
        # Before SQLAlchemy's own look at the server, which a pooler could already fail.
        sa.event.listen(
            engine.sync_engine,
            "connect",
            lambda adapted, _record: _refuse_pooler(adapted, settings.connect_timeout),
            insert=True,
        )
    sa.event.listen(engine.sync_engine, "checkout", _refuse_closed)
    sa.event.listen(engine.sync_engine, "invalidate", _terminate)

    def bound_foreign_transaction(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            for set_bound in set_bounds:
                connection.exec_driver_sql(set_bound)

    # The transactions that SQLAlchemy itself begins, as for work on the schema.
    sa.event.listen(engine.sync_engine, "begin", bound_foreign_transaction)
    extended = ExtendedAsyncSAEngine(engine.sync_engine)
    extended.resolve_timeout = settings.resolve_timeout
    extended.idle_in_transaction_timeout = settings.idle_in_transaction_timeout
    extended._bounds = ";".join(set_bounds)
    watch_pool(extended)
    return extended


def _refuse_pooler(adapted: AdaptedConnection, timeout: float) -> None:
    """Raise PoolerInTheWay if the process that answers is not the one that the connection was made to.

    One round trip, by a simple query: a prepared one might meet a statement of another client.
    """
    driver: asyncpg.Connection[asyncpg.Record] = adapted.driver_connection
    statement = f"SELECT WHERE pg_backend_pid() = {driver.get_server_pid()}"
    if adapted.run_async(lambda _: driver.execute(statement, timeout=timeout)) == "SELECT 1":
        return
    driver.terminate()
    raise PoolerInTheWay(
        "the server process that answers is not the one that was connected to: a connection pooler stands "
        "between, and the settings name none; set SCHEDULER_REPO_POOLER (DatabaseSettings.pooler) to "
        "'transaction', or to 'session' if the pooler keeps one server connection for each client"
    )


def _refuse_closed(adapted: AdaptedConnection, _record: object, _proxy: object) -> None:
    """Make the pool replace a connection that was closed while it lay there, as by a restart of the server."""
    if adapted.driver_connection.is_closed():
        raise sa.exc.DisconnectionError


def _terminate(adapted: AdaptedConnection, _record: object, _error: Optional[BaseException]) -> None:
    """Close the socket of a connection that the pool gives up, at once, so that the server rolls back.

    SQLAlchemy would first try to say goodbye; on a hung server that takes it two seconds.
    """
    adapted.driver_connection.terminate()


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


async def get_driver(connection: AsyncConnection) -> "asyncpg.Connection[asyncpg.Record]":
    """Return the asyncpg connection below SQLAlchemy's."""
    driver = (await connection.get_raw_connection()).driver_connection
    if not isinstance(driver, asyncpg.Connection):
        raise TypeError(f"the engine needs asyncpg connections, this is {type(driver).__name__}")
    return driver


async def _commit(driver: "asyncpg.Connection[asyncpg.Record]") -> None:
    # The server answers the COMMIT of a failed transaction with ROLLBACK, and with no error.
    if await driver.execute("COMMIT") != "COMMIT":
        raise DatabaseError(
            "a statement of the transaction had failed and its error was not passed on, so the transaction "
            "was rolled back; nothing was written"
        )


async def _give_back(connection: AsyncConnection) -> None:
    """Return a connection to the pool, unless it is still in a transaction."""
    if not connection.closed and not connection.invalidated:
        driver = await get_driver(connection)
        if driver.is_closed() or driver.is_in_transaction():
            await _discard(connection)
    await connection.close()


async def _give_back_failed(connection: AsyncConnection, error: BaseException) -> None:
    """Roll back and return the connection if its state is certain, else drop it."""
    if not connection.closed and not connection.invalidated:
        driver = await get_driver(connection)
        if not _leaves_protocol_in_step(error) or not await _rolled_back(driver):
            await _discard(connection)
    await connection.close()


def _leaves_protocol_in_step(error: BaseException) -> bool:
    """Whether nothing can be under way on the connection: not after a cancel, a timeout or a lost socket."""
    doubtful = (OutcomeUnknown, TimeoutError, OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    error = find_driver_error(error)
    return isinstance(error, Exception) and not isinstance(error, doubtful)


async def _rolled_back(driver: "asyncpg.Connection[asyncpg.Record]") -> bool:
    if driver.is_in_transaction():
        try:
            await driver.execute("ROLLBACK", timeout=_ROLLBACK_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            return False
    return not driver.is_closed() and not driver.is_in_transaction()


async def _discard(connection: AsyncConnection) -> None:
    await connection.invalidate()


def _give_back_unused(checkout: "asyncio.Future[AsyncConnection]") -> None:
    if not checkout.cancelled() and checkout.exception() is None:
        task = asyncio.ensure_future(_give_back(checkout.result()))
        _unfinished.add(task)
        task.add_done_callback(_unfinished.discard)


_unfinished: "set[asyncio.Future[None]]" = set()
