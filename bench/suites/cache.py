"""Suite ``cache``: a tick's state and single sessions from Redis, against bytes alone and pickles."""

import pickle
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Union

import msgspec
import redis.asyncio as redis_asyncio

from bench.data.cluster import GROUP
from bench.data.place import Place
from bench.measure.results import ENGINE, FLOOR, PLAIN
from bench.measure.turns import Call, Side
from bench.sides.readers import open_readers
from bench.suites.suite import Bench, Case, FigureMaker, Suite, always, fixed
from scheduler_repo.embedded import EmbeddedValkey
from scheduler_repo.embedded.ready import starting
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource, create_redis
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.cache_source import SessionCacheSource
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.settings import CacheSettings, SecretUrl

HIT, THROUGH, SESSION_HIT = "a tick's state, hit", "a tick's state, not allowed", "one session, hit"
# Older than any run of the suite.
_ANY_AGE: Final = 86_400.0
_CALLS: Final = 20
_PICKLE: Final = "bench:pickle"
_ANY_SESSION: Final = "SELECT id FROM sessions WHERE scaling_group = $1 ORDER BY created_at, id LIMIT 1"


class _Caches(msgspec.Struct, frozen=True):
    """Repositories with a cache, and a client of their Redis."""

    scheduler: SchedulerRepository
    sessions: SessionRepository
    source: SchedulerCacheSource
    session_source: SessionCacheSource
    client: redis_asyncio.Redis

    async def largest_key(self) -> Union[bytes, str]:
        """Find the key under which the engine has stored the one entry that there is."""
        keys = await self.client.keys("*")
        sizes = [await self.client.memory_usage(key) or 0 for key in keys]
        return keys[sizes.index(max(sizes))]

    async def count_commands(self, call: Call) -> int:
        """Count the commands that Redis gets from one call."""
        before = await self._commands()
        await call()
        # INFO counts itself.
        return await self._commands() - before - 1

    async def _commands(self) -> int:
        return int((await self.client.info("stats"))["total_commands_processed"])


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure reads that Redis answers, and one that it may not answer."""
    valkey = EmbeddedValkey()
    async with bench.cluster() as loaded, starting([valkey]) as started:
        await started
        async with _open_caches(loaded.place, valkey.url) as caches:

            async def read_hit() -> object:
                return await caches.scheduler.get_scheduling_data(GROUP, max_staleness=_ANY_AGE)

            data = await read_hit()
            await caches.source.drain()
            sides = await _hit_sides(caches, read_hit, data, calls=1)
            del data
            figures = await _figures(caches, read_hit)
            yield Case(HIT, sides, figures=figures)

            async def read_through() -> object:
                return await caches.scheduler.get_scheduling_data(GROUP)

            async with open_readers(loaded.place) as readers:
                sides = {**readers.sides(), ENGINE: Side(read_through, after=caches.source.drain)}
                yield Case(THROUGH, sides)
            await caches.client.flushdb()
            async with loaded.place.driver() as driver:
                session_id = await driver.fetchval(_ANY_SESSION, GROUP)

            async def read_session() -> object:
                return await caches.sessions.get_session_by_id(session_id)

            session = await read_session()
            sides = await _hit_sides(caches, read_session, session, calls=_CALLS)
            figures = await _figures(caches, read_session)
            yield Case(SESSION_HIT, sides, figures=figures)


async def _hit_sides(caches: _Caches, read: Call, answer: object, *, calls: int) -> dict[str, Side]:
    """Return the sides of a hit: the engine's bytes, fetched alone, and the answer as a pickle."""
    key = await caches.largest_key()
    await caches.client.set(_PICKLE, pickle.dumps(answer))

    async def fetch() -> object:
        return await caches.client.get(key)

    async def unpickle() -> object:
        return pickle.loads(_as_bytes(await caches.client.get(_PICKLE)))  # noqa: S301 - written right here

    return {
        name: Side(_repeated(call, calls), parts=1 / calls)
        for name, call in ((FLOOR, fetch), (ENGINE, read), (PLAIN, unpickle))
    }


async def _figures(caches: _Caches, read: Call) -> FigureMaker:
    key = await caches.largest_key()
    return fixed(
        stored_bytes=len(_as_bytes(await caches.client.get(key))),
        redis_commands=await caches.count_commands(read),
    )


def _as_bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"Redis holds bytes for this suite, found {type(value).__name__}")
    return value


def _repeated(call: Call, times: int) -> Call:
    if times == 1:
        return call

    async def turn() -> None:
        for _ in range(times):
            await call()

    return turn


@asynccontextmanager
async def _open_caches(place: Place, redis_url: str) -> AsyncIterator[_Caches]:
    settings = CacheSettings(url=SecretUrl(redis_url), timeout=5.0, lifetime=_ANY_AGE)
    async with place.engine() as engine, AsyncExitStack() as stack:
        scheduler, sessions = SchedulerDBSource(engine), SessionDBSource(engine)
        source = SchedulerCacheSource(create_redis(settings), scheduler, timeout=5.0, lifetime=_ANY_AGE)
        stack.push_async_callback(source.aclose)
        session_source = SessionCacheSource(create_redis(settings), sessions, timeout=5.0, lifetime=_ANY_AGE)
        stack.push_async_callback(session_source.aclose)
        client = create_redis(settings)
        stack.push_async_callback(client.aclose)
        yield _Caches(
            SchedulerRepository(scheduler, source),
            SessionRepository(sessions, session_source),
            source,
            session_source,
            client,
        )


CACHE: Final = Suite(
    name="cache",
    about="a tick's state and one session from Redis",
    case_names=always(HIT, THROUGH, SESSION_HIT),
    cases=cases,
    takes_trace=True,
    turns=15,
)
