"""What a transaction on the server is bounded by, and in which encoding its database must be."""

from collections.abc import AsyncIterator

import pytest

from scheduler_repo.connection import open_repositories
from scheduler_repo.database.connecting import connect
from scheduler_repo.database.engine import create_engine, driver_connection
from scheduler_repo.database.schema.upgrade import upgrade_schema
from scheduler_repo.errors import UnsupportedEncoding
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import ADMIN, SCHEDULER, Database, DatabaseServer

_BOUNDS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


class TestBounds:
    @pytest.mark.parametrize(("seconds", "shown"), [(0.001, "1ms"), (0.0015, "2ms"), (1.0004, "1001ms")])
    async def test_none_is_shorter_than_wanted_or_lost(
        self, notes_database: Database, seconds: float, shown: str
    ) -> None:
        url = SecretUrl(notes_database.url_as(SCHEDULER))
        settings = DatabaseSettings(
            url=url,
            statement_timeout=60.0,
            lock_timeout=seconds,
            idle_in_transaction_timeout=60.0,
        )
        engine = create_engine(settings)
        async with engine.begin_session() as db_sess:
            driver = driver_connection(db_sess)
            assert await driver.fetchval("SHOW lock_timeout") == shown
            for name in _BOUNDS:
                assert await driver.fetchval(f"SHOW {name}") != "0"
        await engine.dispose()


class TestEncoding:
    @pytest.fixture(scope="class", params=["LATIN1", "SQL_ASCII", "EUC_JP"])
    @classmethod
    async def other(
        cls, request: pytest.FixtureRequest, postgres_server: DatabaseServer
    ) -> AsyncIterator[Database]:
        """A database in which not every text can be stored, and nothing is."""
        server = DatabaseServer(postgres_server.admin_url)
        database = server.new_database()
        encoding = f"ENCODING '{request.param}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        await server.maintenance.run_as(ADMIN, f"CREATE DATABASE {database.name} {encoding}")
        yield database
        await server.drop_database(database)

    async def test_it_is_refused_where_it_is_opened(self, other: Database) -> None:
        with pytest.raises(UnsupportedEncoding, match=f"{other.name}.*encoding UTF8"):
            async with open_repositories(other.url_as(ADMIN)):
                pass

    async def test_no_schema_is_made_in_it(self, other: Database) -> None:
        with pytest.raises(UnsupportedEncoding, match="encoding is"):
            async with other.connect_as(ADMIN) as connection:
                await upgrade_schema(connection)
        with pytest.raises(UnsupportedEncoding, match=other.name):
            async with connect(DatabaseSettings(url=SecretUrl(other.url_as(ADMIN)))):
                pass
