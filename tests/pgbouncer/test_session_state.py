"""What a transaction finds set on a server connection that it shares with others, and what it leaves there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.errors import DatabaseError
from tests.pgbouncer.bouncer import Bouncer
from tests.support.databases import SCHEDULER, Database, DriverConnection
from tests.support.fixtures import MakeEngine

_SETTINGS = """
SELECT name, setting FROM pg_settings
WHERE name IN (
    'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'TimeZone',
    'client_connection_check_interval', 'random_page_cost', 'jit', 'plan_cache_mode'
)
"""
_EXPECTED = {
    "statement_timeout": "7000",
    "lock_timeout": "3000",
    "idle_in_transaction_session_timeout": "4000",
    "TimeZone": "UTC",
    "client_connection_check_interval": "1000",
    "random_page_cost": "1.1",
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",
}
# Everything that a session may hold, as one row.
_LEFT = """
SELECT (SELECT count(*) FROM pg_prepared_statements) AS statements,
    (SELECT count(*) FROM pg_cursors WHERE name <> '') AS cursors,
    (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory') AS locks,
    (SELECT count(*) FROM pg_listening_channels()) AS channels,
    (SELECT count(*) FROM pg_class WHERE relpersistence = 't') AS temporary_tables
"""


async def _values(driver: DriverConnection, statement: str) -> list[tuple[object, ...]]:
    """Prepared without a name, in one transaction: the only way that holds through any PgBouncer."""
    async with driver.transaction():
        return [tuple(row) for row in await (await driver.prepare(statement, name="")).fetch()]


class TestSettings:
    @pytest.fixture
    async def engine(self, bouncer: Bouncer, make_engine: MakeEngine) -> ExtendedAsyncSAEngine:
        return make_engine(statement_timeout=7.0, lock_timeout=3.0, idle_in_transaction_timeout=4.0)

    async def test_both_transactions_have_them(self, engine: ExtendedAsyncSAEngine) -> None:
        for begin in (engine.begin_session, engine.begin_readonly_session):
            async with begin() as db_sess:
                assert dict(await driver_connection(db_sess).fetch(_SETTINGS)) == _EXPECTED

    async def test_the_transactions_of_sqlalchemy_have_them(self, engine: ExtendedAsyncSAEngine) -> None:
        async with engine.connect() as connection:
            rows = (await connection.execute(sa.text(_SETTINGS))).all()
        assert {row.name: row.setting for row in rows} == _EXPECTED

    async def test_the_snapshot_is_one(self, engine: ExtendedAsyncSAEngine) -> None:
        async with engine.begin_readonly_session() as db_sess:
            modes = await driver_connection(db_sess).fetchrow(
                "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"
            )
        assert tuple(modes or ()) == ("repeatable read", "on")


class TestWhatIsLeft:
    """The next client gets the same server connection, the only one."""

    @pytest.fixture
    async def engine(self, idle_bouncer: Bouncer, make_engine: MakeEngine) -> ExtendedAsyncSAEngine:
        idle_bouncer.start(default_pool_size=1, follows_statements=False)
        return make_engine()

    @asynccontextmanager
    async def _client(self, url: str) -> AsyncIterator[DriverConnection]:
        dsn = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        client = await asyncpg.connect(dsn, statement_cache_size=0)
        try:
            yield client
        finally:
            await client.close()

    @pytest.mark.parametrize("ends", ["committed", "rolled back", "failed"])
    async def test_the_next_client_finds_the_defaults(
        self, engine: ExtendedAsyncSAEngine, idle_bouncer: Bouncer, migrated_database: Database, ends: str
    ) -> None:
        url = migrated_database.url_as(SCHEDULER)
        async with self._client(url) as direct:
            defaults = await _values(direct, _SETTINGS)
        async with self._client(idle_bouncer.url_of(url)) as next_client:
            # Given a transaction of the engine, through the driver and through SQLAlchemy
            pids: list[int] = []

            async def work() -> None:
                async with engine.begin_session() as db_sess:
                    pids.append(await driver_connection(db_sess).fetchval("SELECT pg_backend_pid()"))
                    await db_sess.execute(sa.text("SELECT CAST(:amount AS int)"), {"amount": 1})
                    if ends == "rolled back":
                        raise LookupError
                    if ends == "failed":
                        await driver_connection(db_sess).execute("SELECT * FROM nowhere")

            # When it has ended
            if ends == "committed":
                await work()
            else:
                with pytest.raises(LookupError if ends == "rolled back" else DatabaseError):
                    await work()
            # Then the same server process shows the next client nothing of it
            assert await _values(next_client, "SELECT pg_backend_pid()") == [(pids[0],)]
            assert await _values(next_client, _SETTINGS) == defaults
            assert await _values(next_client, _LEFT) == [(0, 0, 0, 0, 0)]
