"""Parts that do not fit together are refused where they are put together, before anything is asked."""

import inspect
from collections.abc import AsyncIterator

import pytest

from scheduler_repo.cache.client import ValkeyClient, create_valkey_client
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.errors import InvalidWiring
from scheduler_repo.quoting import with_article
from scheduler_repo.repositories.db_source import DBSource
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName
from tests.api.public_methods import public_classes

GROUP = ScalingGroupName("wiring")
URL = "postgresql://somebody:secret@db.example/cluster"

CLASSES = tuple(public_classes())
REPOSITORIES = [each for each in CLASSES if each.__name__.endswith("Repository")]
DB_SOURCES = [each for each in CLASSES if each is not DBSource and each.__name__.endswith("DBSource")]
CACHE_SOURCES = [each for each in CLASSES if each.__name__.endswith("CacheSource")]


def parts_of(owner: type, suffix: str) -> type:
    """The class of the same entity and another ending: a repository's db_source."""
    entity = owner.__name__.removesuffix("Repository").removesuffix("CacheSource")
    (found,) = [each for each in CLASSES if each.__name__ == f"{entity}{suffix}"]
    return found


WITH_CACHE = [
    each
    for each in REPOSITORIES
    if f"{each.__name__.removesuffix('Repository')}CacheSource" in [source.__name__ for source in CACHE_SOURCES]
]


def made_engine(database: str = "cluster") -> ExtendedAsyncSAEngine:
    """An engine that never connects."""
    return create_engine(DatabaseSettings(url=SecretUrl(f"postgresql://somebody@db.example/{database}")))


class TestParts:
    @pytest.fixture
    async def engine(self) -> AsyncIterator[ExtendedAsyncSAEngine]:
        engine = made_engine()
        yield engine
        await engine.dispose()

    @pytest.fixture
    async def client(self) -> AsyncIterator[ValkeyClient]:
        client = create_valkey_client(CacheSettings(url=SecretUrl("redis://redis.example")))
        yield client
        await client.aclose()

    @pytest.mark.parametrize("source", DB_SOURCES, ids=lambda kind: kind.__name__)
    @pytest.mark.parametrize("wrong", [URL, DatabaseSettings(url=SecretUrl(URL)), None, ExtendedAsyncSAEngine])
    def test_a_source_over_no_engine(self, source: type, wrong: object) -> None:
        with pytest.raises(InvalidWiring, match=r"engine is .*must be an ExtendedAsyncSAEng") as raised:
            source(wrong)
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize("repository", REPOSITORIES, ids=lambda kind: kind.__name__)
    def test_a_repository_over_no_source_of_its_own(
        self, repository: type, engine: ExtendedAsyncSAEngine
    ) -> None:
        # given its own source's class, an engine, and the source of another repository
        own = parts_of(repository, "DBSource")
        other = next(source for source in DB_SOURCES if source is not own)
        for wrong in (own, engine, other(engine), None):
            # then none of them is taken
            with pytest.raises(InvalidWiring, match=rf"db_source is .*must be {with_article(own)}; give "):
                repository(wrong)

    @pytest.mark.parametrize("repository", WITH_CACHE, ids=lambda kind: kind.__name__)
    def test_a_repository_before_another_s_cache_source(
        self, repository: type, engine: ExtendedAsyncSAEngine, client: ValkeyClient
    ) -> None:
        # given
        db_source = parts_of(repository, "DBSource")(engine)
        own = parts_of(repository, "CacheSource")
        other = next(source for source in CACHE_SOURCES if source is not own)
        other_source = other(client, parts_of(other, "DBSource")(engine))
        for wrong in (own, client, other_source, URL):
            # then
            with pytest.raises(InvalidWiring, match=rf"cache_source is .*must be {with_article(own)}; give "):
                repository(db_source, wrong)

    @pytest.mark.parametrize("repository", WITH_CACHE, ids=lambda kind: kind.__name__)
    async def test_a_cache_source_over_another_engine(
        self, repository: type, engine: ExtendedAsyncSAEngine, client: ValkeyClient
    ) -> None:
        # given a cache source that would answer from another database, and never hear of this one's writes
        source, cache_source = parts_of(repository, "DBSource"), parts_of(repository, "CacheSource")
        elsewhere = made_engine("elsewhere")
        # then
        with pytest.raises(InvalidWiring, match=r"cache_source is over another engine than db_source"):
            repository(source(engine), cache_source(client, source(elsewhere)))
        # and two sources over the same engine are one database to it
        repository(source(engine), cache_source(client, source(engine)))
        await elsewhere.dispose()

    @pytest.mark.parametrize("source", CACHE_SOURCES, ids=lambda kind: kind.__name__)
    def test_a_cache_source_over_no_client_or_no_source(
        self, source: type, engine: ExtendedAsyncSAEngine, client: ValkeyClient
    ) -> None:
        db_source = parts_of(source, "DBSource")(engine)
        for wrong in ("redis://somebody:secret@redis.example", CacheSettings(url=SecretUrl("redis://h")), None):
            with pytest.raises(InvalidWiring, match=r"redis is .*; give ") as raised:
                source(wrong, db_source)
            assert "secret" not in str(raised.value)
        for wrong_source in (engine, None, type(db_source)):
            with pytest.raises(InvalidWiring, match=rf"db_source is .*must be {with_article(type(db_source))}"):
                source(client, wrong_source)


def test_the_walk_finds_every_kind_of_part() -> None:
    assert len(REPOSITORIES) == len(DB_SOURCES) == 16
    assert {kind.__name__ for kind in WITH_CACHE} == {
        "ScalingGroupRepository",
        "SchedulerRepository",
        "SessionRepository",
    }
    assert all("db_source" in inspect.signature(kind).parameters for kind in REPOSITORIES)
