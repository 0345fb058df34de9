"""One database, or one schema of a database, to load a cluster into and to measure."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Optional

import asyncpg
import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from scheduler_repo.cancellation import run_to_end
from scheduler_repo.database.engine import PLANNER_SETTINGS, ExtendedAsyncSAEngine, create_engine
from scheduler_repo.settings import DatabaseSettings, SecretUrl

if TYPE_CHECKING:
    from bench.measure.wire import CountedWire

# More than any side needs at a time.
_POOL_SIZE: Final = 5
_CONNECT_SECONDS: Final = 10.0
# Restoring a large database after a turn takes its time; nobody else waits for it.
_ADMIN_SECONDS: Final = 900.0


class Place(msgspec.Struct, frozen=True):
    """Where a cluster lies: the URL that the engine uses, and that of the tables' owner.

    ``schema`` comes first in the search_path of every connection; None leaves that as it is. ``on_engine`` gets
    each engine that is opened, before it connects.
    """

    url: SecretUrl
    admin_url: SecretUrl
    schema: Optional[str] = None
    may_checkpoint: bool = True
    on_engine: Optional[Callable[[ExtendedAsyncSAEngine], None]] = None

    def by_way_of(self, wire: "CountedWire") -> "Place":
        """Return the same place, where the engine's connections are counted on their way."""
        return msgspec.structs.replace(self, url=wire.url_for(self.url))

    @asynccontextmanager
    async def engine(
        self, *, pool_size: int = _POOL_SIZE, statement_timeout: float = 60.0
    ) -> AsyncIterator[ExtendedAsyncSAEngine]:
        """Open an engine as a host would; at the end it is closed."""
        # What is folded in the middle of a turn would be timed with it.
        settings = DatabaseSettings(
            url=self.url,
            pool_size=pool_size,
            statement_timeout=statement_timeout,
            keeps_logs_short=False,
        )
        engine = create_engine(settings)
        search_path = self._search_path()

        def enter_schema(dialect: object, record: object, args: object, parameters: dict[str, object]) -> None:
            given = parameters.get("server_settings")
            parameters["server_settings"] = {**(given if isinstance(given, Mapping) else {}), **search_path}

        if search_path:
            sa.event.listen(engine.sync_engine, "do_connect", enter_schema)
        if self.on_engine is not None:
            self.on_engine(engine)
        try:
            yield engine
        finally:
            await run_to_end(engine.dispose())

    @asynccontextmanager
    async def plain_engine(self) -> AsyncIterator[AsyncEngine]:
        """Open an engine of SQLAlchemy's own, with the planner settings and nothing else of this package."""
        url = DatabaseSettings(url=self.url).sqlalchemy_url()
        settings = {**PLANNER_SETTINGS, **self._search_path()}
        engine = create_async_engine(url, pool_size=_POOL_SIZE, connect_args={"server_settings": settings})
        try:
            yield engine
        finally:
            await run_to_end(engine.dispose())

    @asynccontextmanager
    async def driver(self) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        """Connect by the driver alone, with the engine's role and planner settings."""
        async with self._connected(self.url, PLANNER_SETTINGS) as driver:
            yield driver

    @asynccontextmanager
    async def administering(self) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        """Connect by the driver as the owner of the tables."""
        async with self._connected(self.admin_url, {}) as driver:
            yield driver

    async def run_as_owner(self, *statements: str) -> None:
        """Run statements one by one, each in a transaction of its own, as VACUUM needs it."""
        async with self.administering() as driver:
            for statement in statements:
                await driver.execute(statement, timeout=_ADMIN_SECONDS)

    @asynccontextmanager
    async def _connected(
        self, url: SecretUrl, settings: Mapping[str, str]
    ) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        all_settings = {**settings, **self._search_path()}
        driver = await asyncpg.connect(driver_dsn(url), timeout=_CONNECT_SECONDS, server_settings=all_settings)
        try:
            yield driver
        finally:
            await run_to_end(driver.close(timeout=_CONNECT_SECONDS))

    def _search_path(self) -> dict[str, str]:
        return {} if self.schema is None else {"search_path": self.schema}


def driver_dsn(url: SecretUrl) -> str:
    """Return a URL as the driver itself takes it."""
    read = DatabaseSettings(url=url).sqlalchemy_url()
    query = {"sslmode" if name == "ssl" else name: value for name, value in read.query.items()}
    return read.set(drivername="postgresql", query=query).render_as_string(hide_password=False)
