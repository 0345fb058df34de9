"""Cache first, the database on a miss: with the package's own sources, and with a source of a user's own."""

from collections.abc import AsyncIterator
from typing import Optional

import msgspec
import pytest
from redis.asyncio import Redis

from scheduler_repo import (
    CacheOutcome,
    ExtendedAsyncSAEngine,
    Repositories,
    Session,
    SessionCacheSource,
    SessionCreationSpec,
    SessionDBSource,
    SessionId,
    SessionRepository,
)


class OwnCacheSource:
    """Keeps sessions in Redis as JSON."""

    _redis: Redis
    _db_source: SessionDBSource

    def __init__(self, redis: Redis, db_source: SessionDBSource) -> None:
        self._redis = redis
        self._db_source = db_source
        self.misses = 0

    async def get_session(self, session_id: SessionId) -> Optional[Session]:
        cached = await self._redis.get(f"own:{session_id}")
        if cached:
            return msgspec.json.decode(cached, type=Session)
        self.misses += 1
        session = await self._db_source.find_session(session_id)
        if session:
            await self._redis.set(f"own:{session_id}", msgspec.json.encode(session))
        return session


class TestCachePattern:
    @pytest.fixture
    async def redis(self, scheduler_repo_redis_url: str) -> AsyncIterator[Redis]:
        async with Redis.from_url(scheduler_repo_redis_url) as client:
            yield client

    @pytest.fixture
    async def session_id(self, repositories: Repositories, spec: SessionCreationSpec) -> SessionId:
        return (await repositories.sessions.create_session(spec)).session_id

    async def test_the_package_s_own_sources(
        self, database_engine: ExtendedAsyncSAEngine, redis: Redis, session_id: SessionId
    ) -> None:
        # given
        db_source = SessionDBSource(database_engine)
        cache_source = SessionCacheSource(redis, db_source)
        cached, bare = SessionRepository(db_source, cache_source), SessionRepository(db_source)
        # when
        answers = [await cached.get_session_by_id(session_id), await bare.get_session_by_id(session_id)]
        await cache_source.drain()
        answers.append(await cached.get_session_by_id(session_id))
        # then they agree, and one came from Redis
        assert answers[0] == answers[1] == answers[2]
        assert cache_source.outcomes[CacheOutcome.HIT] == 1
        await cache_source.aclose()

    async def test_a_source_of_a_user_s_own(
        self, database_engine: ExtendedAsyncSAEngine, redis: Redis, session_id: SessionId
    ) -> None:
        source = OwnCacheSource(redis, SessionDBSource(database_engine))
        first, second = await source.get_session(session_id), await source.get_session(session_id)
        assert first == second
        assert source.misses == 1
