"""No cache answers with the values of a copy of the database, however like it the copy is."""

import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec
import pytest

from scheduler_repo.cache import current_database
from scheduler_repo.cache.metrics import CacheName, CacheOutcome
from scheduler_repo.database import identity
from scheduler_repo.database.engine import create_engine
from scheduler_repo.database.schema.upgrade import upgrade_schema
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.testing.memory_folder import memory_folder
from scheduler_repo.testing.prepared_databases import PreparingServer
from tests.cache.world import CachedRead, World, load, world
from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database, DatabaseServer
from tests.support.own_server import own_database

SETTINGS: Final = {"fsync": "off"}
CHANGE: Final = (
    "UPDATE {0}.sessions SET priority = priority + 7, name = 'of the copy'; "
    "UPDATE {0}.agent_slots SET capacity = capacity + 7"
)


class Twins(msgspec.Struct, frozen=True):
    """Two processes with one cache, each with a database of its own; the values differ, the ids do not."""

    ours: World
    theirs: World


def reads_of(process: World) -> tuple[CachedRead, ...]:
    """Every cached read there is."""
    reads = (*process.reads, process.info_read)
    assert sorted(each.name for each in reads) == sorted(CacheName)
    return reads


@asynccontextmanager
async def twins(
    ours: Database, theirs: Database, redis_url: str, role: str = SCHEDULER
) -> AsyncIterator[Twins]:
    async with world(ours, redis_url) as mine, world(theirs, redis_url, role=role) as others:
        yield Twins(mine, others)


async def left(database: Database) -> Database:
    """The database without a connection to it, so that it can be copied and renamed."""
    others = f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{database.name}'"
    async with DatabaseServer(database.admin_url).maintenance.driver_as(ADMIN) as driver:
        while await driver.fetch(others):
            pass
    return database


def duplicate(source: Path, target: Path) -> None:
    """Copy a file or a folder, with its owner."""
    subprocess.run(["cp", "-a", source, target], check=True)  # noqa: S607


@contextmanager
def copied(server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A server that has the files of another one, which is stopped for the copy."""
    with EmbeddedPostgres(settings=SETTINGS, parent=memory_folder()) as copy:
        copy.stop()
        server.stop()
        shutil.rmtree(copy.directory / "data")
        duplicate(server.directory / "data", copy.directory / "data")
        server.start()
        yield copy


async def promote(copy: Database) -> None:
    """Promote a standby."""
    async with DatabaseServer(copy.admin_url).maintenance.driver_as(ADMIN) as driver:
        assert await driver.fetchval("SELECT pg_promote()")


async def load_as(role: str, database: Database) -> None:
    """Load the cluster on a connection of its own."""
    engine = create_engine(DatabaseSettings(url=SecretUrl(database.url_as(role))))
    await load(engine)
    await engine.dispose()


class TestCopies:
    @pytest.fixture
    async def schemas(self, loaded: Database, redis_url: str) -> AsyncIterator[Twins]:
        """Two installs in two schemas of one database; each role has one first in its search_path."""
        role = f"test_scheduler_{secrets.token_hex(4)}"
        await loaded.run_as(
            ADMIN,
            f"CREATE SCHEMA cluster AUTHORIZATION {OWNER}; CREATE ROLE {role} LOGIN IN ROLE {SCHEDULER};"
            f"ALTER ROLE {role} IN DATABASE {loaded.name} SET search_path = cluster",
        )
        try:
            async with loaded.connect_as(OWNER, search_path="cluster") as connection:
                await upgrade_schema(connection)
            await load_as(role, loaded)
            await loaded.run_as(OWNER, CHANGE.format("cluster"))
            async with twins(loaded, loaded, redis_url, role) as made:
                yield made
        finally:
            await loaded.run_as(ADMIN, f"DROP ROLE {role}")

    @pytest.fixture
    async def clone(
        self, loaded: Database, redis_url: str, postgres_server: PreparingServer
    ) -> AsyncIterator[Twins]:
        """A database and one made from it as a template."""
        copy = await postgres_server.create_database(template=await left(loaded))
        await copy.run_as(OWNER, CHANGE.format("public"))
        async with twins(loaded, copy, redis_url) as made:
            yield made
        await postgres_server.drop_database(copy)

    @asynccontextmanager
    async def servers(self, redis_url: str, *, is_promoted: bool) -> AsyncIterator[Twins]:
        async with own_database(SETTINGS) as (server, database), AsyncExitStack() as stack:
            await load_as(SCHEDULER, database)
            copy = stack.enter_context(copied(server))
            if is_promoted:
                duplicate(copy.directory / "data" / "PG_VERSION", copy.directory / "data" / "standby.signal")
            copy.start()
            other = Database(database.name, copy.url("postgres", "postgres"))
            if is_promoted:
                await promote(other)
            await other.run_as(OWNER, CHANGE.format("public"))
            yield await stack.enter_async_context(twins(database, other, redis_url))

    @pytest.fixture
    async def copied_server(self, redis_url: str) -> AsyncIterator[Twins]:
        """A server and a copy of its files."""
        async with self.servers(redis_url, is_promoted=False) as made:
            yield made

    @pytest.fixture
    async def promoted_copy(self, redis_url: str) -> AsyncIterator[Twins]:
        """A server and a copy that was promoted."""
        async with self.servers(redis_url, is_promoted=True) as made:
            yield made

    @pytest.fixture(
        params=[
            "schemas",
            "clone",
            pytest.param("copied_server", marks=pytest.mark.slow),
            pytest.param("promoted_copy", marks=pytest.mark.slow),
        ]
    )
    def twin(self, request: pytest.FixtureRequest) -> Twins:
        made: Twins = request.getfixturevalue(request.param)
        return made

    async def test_each_gets_its_own(self, twin: Twins) -> None:
        for ours, theirs in zip(reads_of(twin.ours), reads_of(twin.theirs), strict=True):
            # given
            stored = await ours.stored()
            before = theirs.counted(CacheOutcome.OTHER_DATABASE)
            # when
            found = await theirs.stored()
            # then
            assert found == await theirs.truth() != stored
            assert theirs.counted(CacheOutcome.OTHER_DATABASE) == before + 1
            # and the other way round
            assert await ours.read() == stored == await ours.truth()


class TestReplacedDatabase:
    """A process whose engine comes to lead to another database."""

    async def test_every_read_is_a_hit_until_then(
        self,
        process: World,
        other_process: World,
        postgres_server: PreparingServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        database = process.database
        # given entries that another process keeps fresh
        for each in reads_of(other_process):
            await each.stored()
        for each in reads_of(process):
            await each.read()
        # when a changed copy takes the name of the database
        copy = await postgres_server.create_database(template=await left(database))
        await copy.run_as(OWNER, CHANGE.format("public"))
        await postgres_server.maintenance.run_as(
            ADMIN, f"ALTER DATABASE {database.name} RENAME TO {copy.name}_old"
        )
        await postgres_server.maintenance.run_as(ADMIN, f"ALTER DATABASE {copy.name} RENAME TO {database.name}")
        try:
            now = monotonic() + identity.BELIEVED_SECONDS
            monkeypatch.setattr(current_database, "monotonic", lambda: now + 1)
            for each in reads_of(process):
                await each.read()
                await each.source.drain()
            # then it is noticed, though nothing was read from the database
            for each in reads_of(process):
                assert await each.read() == await each.truth()
        finally:
            old = Database(f"{copy.name}_old", database.admin_url)
            await postgres_server.drop_database(old)
