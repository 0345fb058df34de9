"""A fail-over behind one address: pooled connections that lead to the former primary are given up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.entities.scaling_group import ScalingGroupSpec
from scheduler_repo.errors import DatabaseReadOnly
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.own_server import own_database
from tests.support.standby import fail_over, standby_of
from tests.support.waiting import PATIENCE
from tests.support.wire_proxy import WireProxy, proxied

POOL_SIZE = 5
WRITES = 10


async def _make_all_connections(engine: ExtendedAsyncSAEngine) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(POOL_SIZE):
            await stack.enter_async_context(engine.begin_readonly_session())


async def _create_groups(repository: ScalingGroupRepository, prefix: str) -> list[str]:
    names = [f"{prefix}-{number}" for number in range(WRITES)]
    for name in names:
        await repository.create_scaling_groups([ScalingGroupSpec(name=ScalingGroupName(name))])
    return names


async def _list_groups(repository: ScalingGroupRepository) -> list[str]:
    return sorted(group.name for group in await repository.list_scaling_groups())


class TestFormerPrimary:
    """Connections that only read, whoever makes new ones, which do not."""

    @pytest.fixture
    async def proxy(self, migrated_database: Database) -> AsyncIterator[WireProxy]:
        async with proxied(migrated_database.url_as(SCHEDULER)) as running:
            yield running

    @pytest.fixture
    async def engine(
        self, proxy: WireProxy, migrated_database: Database
    ) -> AsyncIterator[ExtendedAsyncSAEngine]:
        made = create_engine(DatabaseSettings(url=SecretUrl(proxy.url), pool_size=POOL_SIZE))
        setting = f"ALTER DATABASE {migrated_database.name} SET default_transaction_read_only"
        await migrated_database.run_as(ADMIN, f"{setting} = on")
        await _make_all_connections(made)
        await migrated_database.run_as(ADMIN, f"BEGIN READ WRITE; {setting} = off; COMMIT")
        yield made
        await made.dispose()

    async def test_every_write_is_done(self, engine: ExtendedAsyncSAEngine, proxy: WireProxy) -> None:
        repository = ScalingGroupRepository(ScalingGroupDBSource(engine))
        assert proxy.connections == POOL_SIZE
        names = await _create_groups(repository, "after")
        assert await _list_groups(repository) == names
        assert proxy.connections == POOL_SIZE + 1

    async def test_many_at_once(self, engine: ExtendedAsyncSAEngine) -> None:
        repository = ScalingGroupRepository(ScalingGroupDBSource(engine))
        await asyncio.gather(*(_create_groups(repository, f"group-{n}") for n in range(2 * POOL_SIZE)))
        assert len(await _list_groups(repository)) == 2 * POOL_SIZE * WRITES

    async def test_bare_sessions_fail_once(self, engine: ExtendedAsyncSAEngine) -> None:
        insert = sa.text("INSERT INTO scaling_groups (name) VALUES ('group')")

        async def write() -> None:
            async with engine.begin_session() as db_sess:
                await db_sess.execute(insert)

        with pytest.raises(DatabaseReadOnly) as caught:
            await write()
        assert caught.value.of_old_connection
        await write()

    async def test_write_in_a_readonly_session_gives_nothing_up(
        self, engine: ExtendedAsyncSAEngine, proxy: WireProxy
    ) -> None:
        async def write() -> None:
            async with engine.begin_readonly_session() as db_sess:
                await driver_connection(db_sess).execute("INSERT INTO scaling_groups (name) VALUES ('group')")

        for _ in range(2):
            with pytest.raises(DatabaseReadOnly) as caught:
                await write()
            assert not caught.value.of_old_connection
        await _make_all_connections(engine)
        assert proxy.connections == POOL_SIZE


class TestReadOnlyServer:
    async def test_is_asked_again_once_at_most(self, migrated_database: Database) -> None:
        """A server that really only reads says so."""
        setting = f"ALTER DATABASE {migrated_database.name} SET default_transaction_read_only = on"
        await migrated_database.run_as(ADMIN, setting)
        async with proxied(migrated_database.url_as(SCHEDULER)) as proxy:
            engine = create_engine(DatabaseSettings(url=SecretUrl(proxy.url), pool_size=POOL_SIZE))
            await _make_all_connections(engine)
            with pytest.raises(DatabaseReadOnly, match="primary"):
                await _create_groups(ScalingGroupRepository(ScalingGroupDBSource(engine)), "group")
            assert proxy.connections <= POOL_SIZE + 1
            await engine.dispose()


class TestAge:
    async def test_connections_have_a_longest_age(self, migrated_database: Database) -> None:
        """What only reads meets no refusal; its connections end all the same."""
        url = SecretUrl(migrated_database.url_as(SCHEDULER))
        engine = create_engine(DatabaseSettings(url=url, pool_size=1, connection_lifetime=0.2))
        seen: set[int] = set()
        async with asyncio.timeout(PATIENCE):
            while len(seen) < 3:
                async with engine.begin_readonly_session() as db_sess:
                    seen.add(driver_connection(db_sess).get_server_pid())
        async with migrated_database.driver_as(ADMIN) as admin:
            alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ($1::int[])"
            async with asyncio.timeout(PATIENCE):
                while await admin.fetchval(alive, list(seen)) > 1:
                    await admin.execute("SELECT pg_sleep(0.01)")
        await engine.dispose()


@pytest.mark.slow
class TestStandby:
    """A real standby that is promoted; the former primary lives on, and only reads."""

    @pytest.fixture
    async def primary(self) -> AsyncIterator[tuple[EmbeddedPostgres, Database]]:
        async with own_database({"fsync": "off"}) as made:
            yield made

    async def test_reads_and_writes_go_to_the_promoted_one(
        self, primary: tuple[EmbeddedPostgres, Database]
    ) -> None:
        server, database = primary
        async with standby_of(server, database) as standby, proxied(database.url_as(SCHEDULER)) as proxy:
            promoted = Database(database.name, standby.url("postgres", "postgres"))
            engine = create_engine(
                DatabaseSettings(url=SecretUrl(proxy.url), pool_size=POOL_SIZE, connection_lifetime=2.0)
            )
            repository = ScalingGroupRepository(ScalingGroupDBSource(engine))
            # given a service in full use
            before = await _create_groups(repository, "before")
            await _make_all_connections(engine)
            # when the address leads to the standby, which is promoted
            await fail_over(database, promoted)
            proxy.lead_to(promoted.url_as(SCHEDULER))
            # then no write is lost or fails, and reads see them
            after = await _create_groups(repository, "after")
            assert await _list_groups(repository) == sorted(before + after)
            await asyncio.gather(*(_create_groups(repository, f"later-{n}") for n in range(POOL_SIZE)))
            async with promoted.driver_as(ADMIN) as admin:
                count = await admin.fetchval("SELECT count(*) FROM scaling_groups")
            assert count == len(before) + len(after) + POOL_SIZE * WRITES
            await engine.dispose()

    async def test_readers_follow_within_the_longest_age(
        self, primary: tuple[EmbeddedPostgres, Database]
    ) -> None:
        server, database = primary
        async with standby_of(server, database) as standby, proxied(database.url_as(SCHEDULER)) as proxy:
            promoted = Database(database.name, standby.url("postgres", "postgres"))
            settings = DatabaseSettings(url=SecretUrl(proxy.url), pool_size=POOL_SIZE, connection_lifetime=0.5)
            engine = create_engine(settings)
            repository = ScalingGroupRepository(ScalingGroupDBSource(engine))
            assert await _list_groups(repository) == []
            await fail_over(database, promoted)
            proxy.lead_to(promoted.url_as(SCHEDULER))
            async with promoted.driver_as(ADMIN) as admin, asyncio.timeout(PATIENCE):
                await admin.execute("INSERT INTO scaling_groups (name) VALUES ('new')")
                while await _list_groups(repository) != ["new"]:
                    await admin.execute("SELECT pg_sleep(0.05)")
            await engine.dispose()
