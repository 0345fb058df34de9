"""The engine: a pool of connections, and the two transactions that everything runs in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import ceil
from time import monotonic
from typing import NoReturn, Optional, Protocol

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from scheduler_repo.cancellation import run_to_end
from scheduler_repo.database.driver_repairs import repair_driver
from scheduler_repo.database.errors import (
    came_from_database,
    find_driver_error,
    outcome_is_known,
    translate_error,
)
from scheduler_repo.database.ownership import OwnedPool, Ownership
from scheduler_repo.database.pooled_connections import ConnectionAges, was_made_since, watch_connections
from scheduler_repo.database.stale_connections import Staleness, find_staleness
from scheduler_repo.database.turns import Turns
from scheduler_repo.errors import DatabaseError, InvalidInput, OutcomeUnknown
from scheduler_repo.metrics.pools import watch_pool
from scheduler_repo.quoting import with_article
from scheduler_repo.settings import DatabaseSettings
from scheduler_repo.wiring import check_wiring

__all__ = ["ExtendedAsyncSAEngine", "SASession", "create_engine", "driver_connection"]

_BEGIN_READONLY = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Not READ WRITE: a database that its administrator has made read-only stays so.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_DRIVER_KEY = "driver_connection"
_SKIPS_LOCKED_KEY = "skips_locked"
_ENGINE_KEY = "engine"
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
# Not forced: one plan for all that was made while a database was nearly empty took ten times as long later.
_REUSE_PLANS = "SET LOCAL plan_cache_mode = 'auto'"
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


def skips_locked(db_sess: SASession) -> bool:
    """Whether the transaction is a write's second try, which leaves out the rows that others have locked."""
    return bool(db_sess.info.get(_SKIPS_LOCKED_KEY, False))


def engine_of(db_sess: SASession) -> "ExtendedAsyncSAEngine":
    """Return the engine whose session this is."""
    engine: ExtendedAsyncSAEngine = db_sess.info[_ENGINE_KEY]
    return engine


class Companion(Protocol):
    """An object that works for an engine beside its callers, and ends before the engine is closed."""

    async def aclose(self) -> None:
        """End what is under way, within a bounded time; must not raise."""
        ...


class ExtendedAsyncSAEngine(AsyncEngine):
    """An AsyncEngine whose sessions begin at once, and whose pool never gets a connection back in doubt.

    The transaction is the driver's own, begun before the session is handed out, so that statements through
    SQLAlchemy and statements straight through the driver share it. Make one with ``create_engine``.
    """

    # How long a lost COMMIT is asked after, and how long a stopped client keeps its transaction; seconds.
    resolve_timeout: float
    idle_in_transaction_timeout: float
    # How long a connection is used at most, in seconds.
    connection_lifetime: float
    # Whether a pooler may give each transaction another server connection.
    shares_connections: bool
    # Whether whoever finds the logs of changes long has them kept short, and what does it, once it was needed.
    keeps_logs_short: bool
    log_keeper: Optional[Companion] = None

    def __init__(self, sync_engine: sa.Engine, settings: DatabaseSettings, bounds: str) -> None:
        """``bounds`` are the statements that begin each transaction; ``create_engine`` puts it together."""
        super().__init__(sync_engine)
        self.resolve_timeout = settings.resolve_timeout
        self.idle_in_transaction_timeout = settings.idle_in_transaction_timeout
        self.connection_lifetime = settings.connection_lifetime
        self.shares_connections = settings.pooler == "transaction"
        self.keeps_logs_short = settings.keeps_logs_short
        self._settings = settings
        self._bounds = bounds
        # Of two SETs of one message the last counts.
        batch_lock_timeout = _milliseconds(min(settings.batch_lock_timeout, settings.lock_timeout))
        self._batch_bounds = f"{bounds};SET LOCAL lock_timeout = '{batch_lock_timeout}'"
        self._callers_waiting = 0
        # Connections that are being made, or given back, for callers that were cancelled.
        self._unwanted: set[asyncio.Future[AsyncConnection] | asyncio.Future[None]] = set()
        self._ownership = Ownership()
        self._turns = Turns(settings.pool_size, settings.pool_timeout)
        self._ages = ConnectionAges(settings.connection_lifetime)
        if isinstance(self.pool, OwnedPool):
            self.pool.ownership = self._ownership
        watch_connections(sync_engine, settings, self._ages)

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
            raise TypeError(f"the engine needs a pool of bounded size, this is {with_article(type(pool))}")
        return pool

    def connect(self) -> AsyncConnection:
        """Return a connection outside the engine's own sessions, as for work on the schema.

        It is the pool's, and does not wait in the line of ``begin_session``. Raises EngineClosed, and
        WrongEventLoop in another event loop than the engine was first used in.
        """
        self._ownership.claim()
        return super().connect()

    @asynccontextmanager
    async def connect_apart(self) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        """Connect outside the pool for as long as the block runs; checked as the pool's connections are.

        Waits in the line of ``begin_session`` until the pool has given it up; raises what that does.
        """
        turns, connection = await self._check_out()
        try:
            driver = await get_driver(connection)
            (await connection.get_raw_connection()).detach()
        except BaseException:
            await run_to_end(_give_back(connection, turns))
            raise
        turns.give_back()
        try:
            yield driver
        finally:
            driver.terminate()
            await run_to_end(connection.close())

    def apart(self) -> "ExtendedAsyncSAEngine":
        """Make an engine beside this one that connects as it does; a connection of its is closed after its use.

        It takes no turn of this one's callers, and no metric shows it. Connects to nothing yet.
        """
        engine = _build_engine(self._settings)
        sa.event.listen(engine.pool, "checkin", lambda _adapted, record: record.invalidate())
        return engine

    async def dispose(self, close: bool = True) -> None:
        """Close the engine for good, with all idle connections; those in use are closed when they come back.

        Waits for those that are being made for callers who were cancelled, ``connect_timeout`` at most.
        ``close=False`` is for a forked process: it leaves the parent's connections alone, and the engine is as
        new. Raises WrongEventLoop as ``connect`` does.
        """
        keeper, self.log_keeper = self.log_keeper, None
        if close:
            self._ownership.check_event_loop()
            self.keeps_logs_short = False
            if keeper is not None:
                await keeper.aclose()
            # The pool that is left behind would keep what is in use now.
            sa.event.listen(self.pool, "checkin", lambda _adapted, record: record.invalidate())
        else:
            self._turns = Turns(self._settings.pool_size, self._settings.pool_timeout)
        self._ownership.end(closed=close)
        await super().dispose(close)
        while close and self._unwanted:
            await asyncio.wait(self._unwanted)

    def begin_readonly_session(self, *, reuses_plans: bool = False) -> AbstractAsyncContextManager[SASession]:
        """Open a session that reads one snapshot: REPEATABLE READ, READ ONLY, enforced by the server.

        ``reuses_plans`` is for statements that look up rows by id alone: their plans do not depend on how many.
        Raises DatabaseUnavailable, DatabaseTimeout, DatabaseReadOnly (for a write inside it) and the other
        errors of the database layer; costs two round trips besides the statements inside.
        """
        bounds = f"{self._bounds};{_REUSE_PLANS}" if reuses_plans else None
        return self._begin(_BEGIN_READONLY, bounds)

    def begin_session(self) -> AbstractAsyncContextManager[SASession]:
        """Open a session that writes: READ COMMITTED, committed at the end, rolled back on any exception.

        Raises DatabaseUnavailable, OutcomeUnknown (the connection was lost at COMMIT), DatabaseTimeout,
        TransactionConflict, ConstraintViolated and the other errors of the database layer; costs two round
        trips besides the statements inside.
        """
        return self._begin(_BEGIN)

    def begin_batch_session(self, *, skips_locked: bool) -> AbstractAsyncContextManager[SASession]:
        """Open a session as ``begin_session`` does, for one of the two tries of a batch.

        The first waits for each lock as long as ``batch_lock_timeout`` says, and raises DatabaseTimeout then.
        """
        bounds = self._bounds if skips_locked else self._batch_bounds
        return self._begin(_BEGIN, bounds, skips_locked)

    @asynccontextmanager
    async def _begin(
        self, begin: str, bounds: Optional[str] = None, skips_locked: bool = False
    ) -> AsyncIterator[SASession]:
        # In whose code an error came up: the body's own errors are none of the database's.
        driver_of_body: Optional[asyncpg.Connection[asyncpg.Record]] = None
        began = monotonic()
        is_new = True
        try:
            turns, connection = await self._check_out()
            try:
                driver = await get_driver(connection)
                is_new = was_made_since(connection, began)
                # The bounds ride in BEGIN's own message, and end with the transaction.
                await driver.execute(f"{begin};{self._bounds if bounds is None else bounds}")
                info = {_DRIVER_KEY: driver, _SKIPS_LOCKED_KEY: skips_locked, _ENGINE_KEY: self}
                db_sess = SASession(bind=connection, expire_on_commit=False, info=info)
                driver_of_body = driver
                yield db_sess
                await db_sess.flush()
                driver_of_body = None
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
                is_stale = find_staleness(error, writes=begin == _BEGIN) is not Staleness.NONE
                await run_to_end(_give_back_failed(connection, error, turns, is_stale=is_stale))
                raise
            await run_to_end(_give_back(connection, turns))
        except Exception as error:
            if driver_of_body is not None and not came_from_database(error, driver_of_body):
                raise
            known = translate_error(error)
            if known is None:
                raise
            staleness = find_staleness(error, writes=begin == _BEGIN)
            if staleness is Staleness.ALL:
                self._ages.renew_all()
            if isinstance(known, DatabaseError):
                known.of_old_connection = staleness is not Staleness.NONE and not is_new
            raise known from error

    async def _check_out(self) -> tuple[Turns, AsyncConnection]:
        self._ownership.claim()
        turns = self._turns
        self._callers_waiting += 1
        try:
            await turns.take()
            # Cancelling a caller must not tear a connection that is just being made: it is finished, and kept.
            checkout = asyncio.ensure_future(self._autocommit_connection())
            try:
                return turns, await asyncio.shield(checkout)
            except asyncio.CancelledError:
                self._unwanted.add(checkout)
                checkout.add_done_callback(lambda unused: self._give_back_unused(unused, turns))
                raise
            except BaseException:
                turns.give_back()
                raise
        finally:
            self._callers_waiting -= 1

    def _give_back_unused(self, checkout: "asyncio.Future[AsyncConnection]", turns: Turns) -> None:
        self._unwanted.discard(checkout)
        if checkout.cancelled() or checkout.exception() is not None:
            turns.give_back()
            return
        task = asyncio.ensure_future(_give_back(checkout.result(), turns))
        self._unwanted.add(task)
        task.add_done_callback(self._unwanted.discard)

    async def _autocommit_connection(self) -> AsyncConnection:
        # SQLAlchemy must not begin a transaction of its own inside the driver's.
        connection = await super().connect()
        return await connection.execution_options(isolation_level="AUTOCOMMIT")


def create_engine(settings: DatabaseSettings) -> ExtendedAsyncSAEngine:
    """Make an engine with its pool, which the metrics show; connects to nothing yet.

    Every wait has a bound: pool checkout, connect, statement, lock, idle in transaction (all in seconds). The
    server's bounds are set in each transaction and not at start-up: a pooler may refuse them there, drop them
    without a word, or give them to another client. That costs about 10 µs a transaction, and no round trip.
    Raises InvalidWiring for what is no DatabaseSettings, such as a URL.
    """
    check_wiring(settings, DatabaseSettings, "settings", "DatabaseSettings(url=SecretUrl(...))")
    repair_driver()
    engine = _build_engine(settings)
    watch_pool(engine)
    return engine


def _build_engine(settings: DatabaseSettings) -> ExtendedAsyncSAEngine:
    bounds = {
        "statement_timeout": _milliseconds(settings.statement_timeout),
        "lock_timeout": _milliseconds(settings.lock_timeout),
        "idle_in_transaction_session_timeout": _milliseconds(settings.idle_in_transaction_timeout),
        # In a zone with summer time a day is not always 24 hours long.
        "TimeZone": "UTC",
        # What a database may set for itself, and statements would be read or answered otherwise with.
        "array_nulls": "on",
        "standard_conforming_strings": "on",
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "postgres",
        # A statement whose caller is gone must end, not hold its locks until the statement timeout.
        "client_connection_check_interval": _milliseconds(_CLIENT_CHECK_SECONDS),
        **PLANNER_SETTINGS,
    }
    set_bounds = [f"SET LOCAL {name} = '{value}'" for name, value in bounds.items()]
    url = settings.sqlalchemy_url()
    engine = create_async_engine(
        # A URL's options are shown wherever SQLAlchemy shows the URL; this one may say where the password is.
        url.difference_update_query(["passfile"]),
        poolclass=OwnedPool,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout,
        pool_use_lifo=True,
        connect_args={
            "timeout": settings.connect_timeout,
            "command_timeout": settings.statement_timeout,
            "server_settings": {"application_name": settings.application_name},
            **({"passfile": url.query["passfile"]} if "passfile" in url.query else {}),
            **(_UNNAMED_STATEMENTS if settings.pooler == "transaction" else {}),
        },
    ).sync_engine

    def bound_foreign_transaction(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            for set_bound in set_bounds:
                connection.exec_driver_sql(set_bound)

    # The transactions that SQLAlchemy itself begins, as for work on the schema.
    sa.event.listen(engine, "begin", bound_foreign_transaction)
    return ExtendedAsyncSAEngine(engine, settings, ";".join(set_bounds))


def _milliseconds(seconds: float) -> str:
    # Rounded up: 0 would be no bound.
    return str(ceil(seconds * 1000))


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


async def _give_back(connection: AsyncConnection, turns: Turns) -> None:
    """Return a connection to the pool, unless it is still in a transaction, and end the caller's turn."""
    try:
        if not connection.closed and not connection.invalidated:
            driver = await get_driver(connection)
            if driver.is_closed() or driver.is_in_transaction():
                await _discard(connection)
        await connection.close()
    finally:
        turns.give_back()


async def _give_back_failed(
    connection: AsyncConnection, error: BaseException, turns: Turns, *, is_stale: bool
) -> None:
    """Roll back and return the connection if its state is certain, else drop it; end the caller's turn."""
    try:
        if not connection.closed and not connection.invalidated:
            driver = await get_driver(connection)
            in_step = not is_stale and _leaves_protocol_in_step(error, driver)
            if not in_step or not await _rolled_back(driver):
                await _discard(connection)
        await connection.close()
    finally:
        turns.give_back()


def _leaves_protocol_in_step(error: BaseException, driver: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Whether nothing can be under way on the connection: not after a cancel, a timeout or a lost socket."""
    found = find_driver_error(error)
    # A timeout may have cut off a statement, whoever has set it.
    if not isinstance(found, Exception) or isinstance(found, (OutcomeUnknown, TimeoutError)):
        return False
    doubtful = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    return not isinstance(found, doubtful) or not came_from_database(error, driver)


async def _rolled_back(driver: "asyncpg.Connection[asyncpg.Record]") -> bool:
    if driver.is_in_transaction():
        try:
            await driver.execute("ROLLBACK", timeout=_ROLLBACK_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            return False
    return not driver.is_closed() and not driver.is_in_transaction()


async def _discard(connection: AsyncConnection) -> None:
    await connection.invalidate()
