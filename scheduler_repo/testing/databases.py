"""Databases of a test server: made, reached in any role, and dropped."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Optional, TypeAlias

import asyncpg
import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

DriverConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ADMIN = ""  # whoever made the server
OWNER = "scheduler_repo_owner"
SCHEDULER = "scheduler_repo_scheduler"
READER = "scheduler_repo_reader"


class Database(msgspec.Struct, frozen=True):
    """One database of the test server."""

    name: str
    admin_url: str

    def url_as(self, role: str) -> str:
        """The SQLAlchemy URL of this database for a role; ADMIN is the server's superuser."""
        url = sa.make_url(self.admin_url).set(database=self.name)
        if role != ADMIN:
            url = url.set(username=role, password=None)
        return url.render_as_string(hide_password=False)

    @asynccontextmanager
    async def connect_as(
        self, role: str, search_path: Optional[str] = None, isolation_level: Optional[str] = None
    ) -> AsyncIterator[AsyncConnection]:
        """A SQLAlchemy connection of its own."""
        settings = {} if search_path is None else {"search_path": search_path}
        arguments = {"server_settings": settings}
        engine = create_async_engine(self.url_as(role), poolclass=NullPool, connect_args=arguments)
        try:
            async with engine.connect() as connection:
                if isolation_level is not None:
                    await connection.execution_options(isolation_level=isolation_level)
                yield connection
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def driver_as(self, role: str) -> AsyncIterator[DriverConnection]:
        """A connection of the driver alone, for scripts of several statements."""
        connection = await self.open_driver_as(role)
        try:
            yield connection
        finally:
            await connection.close()

    async def open_driver_as(self, role: str) -> DriverConnection:
        """Open a connection of the driver, which the caller closes."""
        url = sa.make_url(self.url_as(role)).set(drivername="postgresql")
        return await asyncpg.connect(url.render_as_string(hide_password=False))

    async def run_as(self, role: str, script: str) -> None:
        """Run statements, separated by semicolons."""
        async with self.driver_as(role) as driver:
            await driver.execute(script)


class DatabaseServer(msgspec.Struct, frozen=True):
    """A PostgreSQL server, reached as its superuser."""

    admin_url: str

    @property
    def maintenance(self) -> Database:
        """The database from which others are made and dropped."""
        return Database(sa.make_url(self.admin_url).database or "postgres", self.admin_url)

    def new_database(self) -> Database:
        """A name that no database has yet."""
        return Database(f"test_{secrets.token_hex(6)}", self.admin_url)

    async def create_database(self, template: Optional[Database] = None) -> Database:
        """Make an empty database, or a copy of another one."""
        database = self.new_database()
        source = "template0" if template is None else template.name
        await self.maintenance.run_as(ADMIN, f"CREATE DATABASE {database.name} TEMPLATE {source}")
        return database

    async def drop_database(self, database: Database) -> None:
        """Drop a database, whoever is still connected to it."""
        await self.maintenance.run_as(ADMIN, f"DROP DATABASE {database.name} WITH (FORCE)")
