"""The front door: what it opens, what it refuses, and that all of it is closed however the block ends."""

import asyncio
import contextlib
import typing
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import FrozenInstanceError, fields
from time import monotonic
from typing import Union, cast

import msgspec
import pytest
import redis.asyncio
import sqlalchemy as sa

from scheduler_repo.cache.source import CacheSource
from scheduler_repo.connection import CacheOptions, DatabaseOptions, Repositories, open_repositories
from scheduler_repo.entities.scaling_group import ScalingGroupSpec
from scheduler_repo.errors import (
    DatabaseUnavailable,
    EngineClosed,
    InvalidSettings,
    InvalidWiring,
    SchedulerRepoError,
    SchemaMismatch,
    WrongEventLoop,
)
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl, Settings
from scheduler_repo.types import ScalingGroupName
from tests.api.public_methods import public_classes
from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database
from tests.support.observation import refused_port
from tests.support.waiting import PATIENCE

GROUP = ScalingGroupName("door")
URL = "postgresql://somebody:secret@db.example/cluster"

Opening = AbstractAsyncContextManager[Repositories]
Given = Union[str, SecretUrl, DatabaseSettings]
GivenCache = Union[str, SecretUrl, CacheSettings]

AS_DATABASE: dict[str, Callable[[str], Given]] = {
    "text": str,
    "secret": SecretUrl,
    "settings": lambda url: DatabaseSettings(url=SecretUrl(url), pool_size=2),
}
AS_CACHE: dict[str, Callable[[str], GivenCache]] = {
    "text": str,
    "secret": SecretUrl,
    "settings": lambda url: CacheSettings(url=SecretUrl(url), timeout=0.5),
}


async def connections_to(database: Database) -> int:
    """How many connections the scheduler's role has, once those that are ending have ended."""
    count = -1
    async with database.driver_as(ADMIN) as driver:
        until = monotonic() + PATIENCE
        while monotonic() < until:
            count = await driver.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND usename = $2",
                database.name,
                SCHEDULER,
            )
            if not count:
                break
            await asyncio.sleep(0.02)
    return count


async def clients_of(url: str) -> int:
    """How many clients Redis has besides the one that asks, once those that are ending have ended."""
    count = -1
    async with redis.asyncio.Redis.from_url(url) as client:
        until = monotonic() + PATIENCE
        while monotonic() < until:
            count = len(await client.client_list()) - 1
            if not count:
                break
            await asyncio.sleep(0.02)
    return count


@pytest.fixture
def url(fresh_database: Database) -> str:
    """The database's URL, as the scheduler reaches it."""
    return fresh_database.url_as(SCHEDULER)


async def look(repos: Repositories) -> None:
    """Ask through every cache."""
    await repos.scheduler.get_scheduling_data(GROUP, max_staleness=60)
    await repos.scaling_groups.get_total_resource_slots(GROUP, max_staleness=60)


class TestOpening:
    @pytest.mark.parametrize(("database_as", "cache_as"), [(each, each) for each in AS_DATABASE])
    async def test_urls_and_settings_alike(
        self, url: str, redis_url: str, database_as: str, cache_as: str
    ) -> None:
        async with open_repositories(AS_DATABASE[database_as](url), AS_CACHE[cache_as](redis_url)) as repos:
            await repos.scaling_groups.create_scaling_groups([ScalingGroupSpec(name=GROUP)])
            await look(repos)
            assert repos.engine.pool_size == (2 if database_as == "settings" else 5)

    async def test_every_repository_is_there_and_stays(self, url: str) -> None:
        async with open_repositories(url) as repos:
            kinds = [type(getattr(repos, field.name)) for field in fields(repos) if field.name != "engine"]
            assert set(kinds) == {kind for kind in public_classes() if kind.__name__.endswith("Repository")}
            with pytest.raises(FrozenInstanceError):
                repos.sessions = repos.sessions  # type: ignore[misc] # it is what is tested
            assert "secret" not in repr(repos)

    async def test_settings_by_keyword(self, url: str, redis_url: str) -> None:
        opening = open_repositories(url, redis_url, pool_size=3, redis_timeout=0.5, lock_timeout=7)
        async with opening as repos:
            assert repos.engine.pool_size == 3
            async with repos.engine.begin_readonly_session() as db_sess:
                assert await db_sess.scalar(sa.text("SHOW lock_timeout")) == "7s"

    async def test_one_client_for_all_caches(self, url: str, redis_url: str) -> None:
        async with open_repositories(url, redis_url) as repos:
            parts = [part for field in fields(repos) for part in vars(getattr(repos, field.name)).values()]
            clients = [part.client for part in parts if isinstance(part, CacheSource)]
            assert len(clients) >= 3
            assert len(set(clients)) == 1

    async def test_redis_may_be_down(self, url: str) -> None:
        with refused_port() as port:
            async with open_repositories(url, f"redis://127.0.0.1:{port}") as repos:
                await repos.scaling_groups.create_scaling_groups([ScalingGroupSpec(name=GROUP)])
                await look(repos)

    @pytest.mark.parametrize(
        ("options", "settings", "prefix"),
        [(DatabaseOptions, DatabaseSettings, ""), (CacheOptions, CacheSettings, "redis_")],
    )
    def test_keywords_are_the_fields(self, options: type, settings: type[msgspec.Struct], prefix: str) -> None:
        known = {f"{prefix}{field.name}": field.type for field in msgspec.structs.fields(settings)}
        del known[f"{prefix}url"]
        bare = {
            name: typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind
            for name, kind in known.items()
        }
        assert typing.get_type_hints(options) == bare


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "keywords", "kind", "said"),
        [
            ((None,), {}, InvalidWiring, "database_url is a NoneType; give a URL or a DatabaseSettings"),
            ((7,), {}, InvalidWiring, "database_url is an int; give a URL"),
            ((DatabaseSettings,), {}, InvalidWiring, "database_url is the class DatabaseSettings"),
            ((Settings(),), {}, InvalidWiring, r"database_url is a Settings; give its \.database or \.cache"),
            ((CacheSettings(url=SecretUrl(URL)),), {}, InvalidWiring, "database_url is a CacheSettings"),
            ((URL, DatabaseSettings(url=SecretUrl(URL))), {}, InvalidWiring, "redis_url is a DatabaseSettings"),
            (("redis://h",), {}, InvalidSettings, "the database must be PostgreSQL, the URL says redis"),
            (("",), {}, InvalidSettings, "the database URL cannot be read"),
            (("postgresql://u:a@secret@h/d",), {}, InvalidSettings, "one of @ / . # stands before the last @"),
            ((URL, "http://h"), {}, InvalidSettings, "the Redis URL cannot be read"),
            ((URL, "redis://u:p/secret@h"), {}, InvalidSettings, "stands before the last @"),
            ((URL,), {"pool_sise": 3}, InvalidSettings, r"pool_sise is no setting; did you mean pool_size\?"),
            ((URL,), {"colour": 3}, InvalidSettings, "colour is no setting; there are pool_size, "),
            ((URL,), {"url": URL}, InvalidSettings, "url is no setting"),
            ((URL,), {"pool_size": "3"}, InvalidSettings, "pool_size"),
            ((URL,), {"pool_size": 0}, InvalidSettings, "pool_size"),
            ((URL,), {"lock_timeout": -1}, InvalidSettings, "lock_timeout"),
            ((URL,), {"redis_timeout": 1}, InvalidSettings, "redis_timeout is given without redis_url"),
            ((URL, "redis://h"), {"redis_timeout": "1"}, InvalidSettings, "timeout"),
            (
                (DatabaseSettings(url=SecretUrl(URL)),),
                {"pool_size": 3},
                InvalidSettings,
                "pool_size is given beside a DatabaseSettings; set it in that",
            ),
            (
                (URL, CacheSettings(url=SecretUrl("redis://h"))),
                {"redis_timeout": 3},
                InvalidSettings,
                "timeout is given beside a CacheSettings; set it in that",
            ),
        ],
    )
    async def test_what_cannot_be_used(
        self,
        arguments: tuple[object, ...],
        keywords: Mapping[str, object],
        kind: type[SchedulerRepoError],
        said: str,
    ) -> None:
        opening = cast(Callable[..., Opening], open_repositories)
        # Refused at the call, before anything is connected to.
        with pytest.raises(kind, match=said) as raised:
            opening(*arguments, **keywords)
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize(
        "use",
        [
            lambda opening: opening.sessions,
            lambda opening: opening.__await__(),
            lambda opening: opening.__enter__(),
        ],
    )
    def test_what_is_not_entered(self, url: str, use: Callable[[Opening], object]) -> None:
        with pytest.raises(InvalidWiring, match=r"write: async with open_repositories\(...\) as repos:"):
            use(open_repositories(url))

    async def test_a_database_without_a_schema(self, empty_database: Database) -> None:
        with pytest.raises(SchemaMismatch, match=r"no schema of this package.*run: scheduler-repo db upgrade"):
            await open_and_close(open_repositories(empty_database.url_as(SCHEDULER)))
        assert await connections_to(empty_database) == 0

    @pytest.mark.parametrize(
        ("revision", "said"),
        [
            ("0001", "older than .*run: scheduler-repo db upgrade"),
            ("9999", "install the version"),
        ],
    )
    async def test_another_revision(self, fresh_database: Database, url: str, revision: str, said: str) -> None:
        await fresh_database.run_as(
            OWNER, f"UPDATE scheduler_repo_schema_version SET version_num = '{revision}'"
        )
        with pytest.raises(SchemaMismatch, match=said):
            await open_and_close(open_repositories(url))
        assert await connections_to(fresh_database) == 0

    async def test_a_server_that_is_not_there(self) -> None:
        with (
            refused_port() as port,
            pytest.raises(DatabaseUnavailable, match=f"{port}/cluster: .*see that a PostgreSQL server"),
        ):
            await open_and_close(open_repositories(f"postgresql://somebody:secret@127.0.0.1:{port}/cluster"))


async def open_and_close(opening: Opening) -> None:
    async with opening:
        pass


class TestClosing:
    async def test_everything_is_closed(self, fresh_database: Database, url: str, redis_url: str) -> None:
        # given
        async with open_repositories(url, redis_url) as repos:
            await repos.scaling_groups.create_scaling_groups([ScalingGroupSpec(name=GROUP)])
            await look(repos)
        # then nothing is left, and nothing is opened again
        assert await connections_to(fresh_database) == 0
        assert await clients_of(redis_url) == 0
        for staleness in (0.0, 60.0):
            with pytest.raises(EngineClosed):
                await repos.scheduler.get_scheduling_data(GROUP, staleness)
        with pytest.raises(EngineClosed):
            await repos.scaling_groups.create_scaling_groups([ScalingGroupSpec(name=GROUP)])
        assert await connections_to(fresh_database) == 0
        assert await clients_of(redis_url) == 0

    async def test_after_an_error_too(self, fresh_database: Database, url: str, redis_url: str) -> None:
        async def use() -> None:
            async with open_repositories(url, redis_url) as repos:
                await repos.scaling_groups.create_scaling_groups([ScalingGroupSpec(name=GROUP)])
                await look(repos)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await use()
        assert await connections_to(fresh_database) == 0
        assert await clients_of(redis_url) == 0

    @pytest.mark.parametrize("milliseconds", [0, 1, 2, 4, 8, 16, 24, 32])
    async def test_cancelled_while_it_opens_or_closes(
        self, fresh_database: Database, url: str, redis_url: str, milliseconds: int
    ) -> None:
        async def use() -> None:
            async with open_repositories(url, redis_url) as repos:
                with contextlib.suppress(SchedulerRepoError):
                    await look(repos)

        # when it is cancelled, twice, wherever it is by then
        task = asyncio.create_task(use())
        for _ in range(2):
            await asyncio.sleep(milliseconds / 1000)
            task.cancel()
        await asyncio.wait([task])
        # then nothing is left
        assert await connections_to(fresh_database) == 0
        assert await clients_of(redis_url) == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_cancelled_at_the_very_end(self, fresh_database: Database, url: str, redis_url: str) -> None:
        for turns in range(12):
            leaving = asyncio.Event()

            async def use(leaving: asyncio.Event) -> None:
                async with open_repositories(url, redis_url):
                    leaving.set()

            task = asyncio.create_task(use(leaving))
            await leaving.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        assert await connections_to(fresh_database) == 0
        assert await clients_of(redis_url) == 0

    async def test_in_another_thread(self, url: str, redis_url: str) -> None:
        async with open_repositories(url, redis_url) as repos:
            await repos.scaling_groups.create_scaling_groups([ScalingGroupSpec(name=GROUP)])
            await look(repos)
            for staleness in (0.0, 60.0):
                # A cached answer is not given there either: a client of Redis belongs to its event loop too.
                asking = repos.scheduler.get_scheduling_data(GROUP, staleness)
                with pytest.raises(WrongEventLoop):
                    await asyncio.to_thread(asyncio.run, asking)
            await look(repos)
