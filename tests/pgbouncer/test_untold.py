"""A pooler that the settings do not name, or not as what it is, is found, and said in words that help."""

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.errors import InvalidSettings, PoolerInTheWay
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.pgbouncer.bouncer import Bouncer
from tests.support.databases import SCHEDULER, Database
from tests.support.fixtures import MakeEngine


async def _server_process(engine: ExtendedAsyncSAEngine) -> int:
    async with engine.begin_readonly_session() as db_sess:
        found: int = await driver_connection(db_sess).fetchval("SELECT pg_backend_pid()")
    return found


class TestNotTold:
    @pytest.mark.parametrize("pool_mode", ["session", "transaction"])
    async def test_the_first_connection_is_refused(
        self, idle_bouncer: Bouncer, make_engine: MakeEngine, pool_mode: str
    ) -> None:
        # Given a PgBouncer that drops the settings it does not know
        idle_bouncer.start(
            pool_mode=pool_mode, ignore_startup_parameters="statement_timeout,lock_timeout,extra_float_digits"
        )
        engine = make_engine(pooler=None)
        for _ in range(2):
            # When an engine that was told of none makes a connection
            with pytest.raises(PoolerInTheWay, match="SCHEDULER_REPO_POOLER") as caught:
                await _server_process(engine)
            # Then it says what to set, and keeps no connection
            assert "'transaction'" in str(caught.value)
            assert caught.value.error_code == "pooler_in_the_way"
            assert engine.connections_in_use == 0

    async def test_the_server_itself_is_not_taken_for_one(
        self, idle_bouncer: Bouncer, make_engine: MakeEngine, migrated_database: Database
    ) -> None:
        engine = make_engine(migrated_database.url_as(SCHEDULER), pooler=None)
        assert await _server_process(engine) > 0


class TestSessionMode:
    async def test_it_keeps_one_server_connection(self, idle_bouncer: Bouncer, make_engine: MakeEngine) -> None:
        idle_bouncer.start(pool_mode="session")
        engine = make_engine(pooler="session", pool_size=1)
        assert len({await _server_process(engine) for _ in range(3)}) == 1

    async def test_transaction_mode_that_is_called_so_is_found(
        self, idle_bouncer: Bouncer, make_engine: MakeEngine
    ) -> None:
        # Given a statement that was prepared on one of two server connections
        idle_bouncer.start(follows_statements=False)
        engine = make_engine(pooler="session", pool_size=1)
        first = await _server_process(engine)
        async with make_engine().begin_session() as db_sess:
            assert await driver_connection(db_sess).fetchval("SELECT pg_backend_pid()") == first
            # When it is run on the other
            with pytest.raises(PoolerInTheWay, match="SCHEDULER_REPO_POOLER"):
                await _server_process(engine)


class TestUrl:
    @pytest.mark.parametrize("option", ["read-write", "any"])
    def test_what_would_be_asked_outside_a_transaction_is_refused(self, option: str) -> None:
        url = SecretUrl(f"postgresql://planner@pool.example/cluster?target_session_attrs={option}")
        with pytest.raises(InvalidSettings, match="target_session_attrs"):
            DatabaseSettings(url=url, pooler="transaction").sqlalchemy_url()
        assert DatabaseSettings(url=url, pooler="session").sqlalchemy_url().query
