"""Suite ``cache``: a tick's state and single sessions from Redis, against bytes alone and pickles."""

import pickle
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final, Union

import msgspec
import redis.asyncio as redis_asyncio

from bench.data.cluster import GROUP
from bench.data.place import Place
from bench.measure.results import ENGINE, FLOOR, PLAIN
from bench.measure.turns import Call, Side
from bench.measure.wire import counted_wire
from bench.sides.readers import open_readers
from bench.suites.suite import Bench, Case, FigureMaker, Suite, always, fixed
from scheduler_repo.embedded import EmbeddedValkey
from scheduler_repo.embedded.ready import starting
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource, create_redis
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.cache_source import SessionCacheSource
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.settings import CacheSettings, SecretUrl
from scheduler_repo.types import SessionId

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

    async def read_hit(self) -> SchedulingData:
        """Read a tick's state, of any age."""
        return await self.scheduler.get_scheduling_data(GROUP, max_staleness=_ANY_AGE)

    def through_side(self) -> Side:
        """Return the side of a read that Redis may not answer; its answer is stored before the next turn."""

        async def read() -> object:
            return await self.scheduler.get_scheduling_data(GROUP)

        return Side(read, after=self.source.drain)

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
    async with (
        bench.cluster() as loaded,
        counted_wire(loaded.place.url) as wire,
        starting([valkey]) as started,
    ):
        await started
        place, counted_place = loaded.place, loaded.place.by_way_of(wire)
        async with (
            _open_caches(place, valkey.url, bench.on_redis) as caches,
            _open_caches(counted_place, valkey.url) as counted,
        ):
            # Each has its entry stored before its sides are put together.
            data = await caches.read_hit()
            await caches.source.drain()
            sides = await _hit_sides(caches, caches.read_hit, data, calls=1)
            counted_sides = await _hit_sides(counted, counted.read_hit, data, calls=1)
            del data
            figures = await _figures(caches, caches.read_hit)
            yield Case(HIT, sides, counted_sides, wire, figures=figures)
            async with open_readers(place) as readers, open_readers(counted_place) as counted_readers:
                sides = {**readers.sides(), ENGINE: caches.through_side()}
                counted_sides = {**counted_readers.sides(), ENGINE: counted.through_side()}
                yield Case(THROUGH, sides, counted_sides, wire)
            await caches.client.flushdb()
            async with place.driver() as driver:
                session_id = SessionId(await driver.fetchval(_ANY_SESSION, GROUP))
            read_session = partial(caches.sessions.get_session_by_id, session_id)
            read_counted = partial(counted.sessions.get_session_by_id, session_id)
            session = await read_session()
            sides = await _hit_sides(caches, read_session, session, calls=_CALLS)
            counted_sides = await _hit_sides(counted, read_counted, session, calls=_CALLS)
            figures = await _figures(caches, read_session)
            yield Case(SESSION_HIT, sides, counted_sides, wire, figures=figures)


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
async def _open_caches(
    place: Place, redis_url: str, on_redis: Callable[[redis_asyncio.Redis], None] = lambda client: None
) -> AsyncIterator[_Caches]:
    settings = CacheSettings(url=SecretUrl(redis_url), timeout=5.0, lifetime=_ANY_AGE)
    async with place.engine() as engine, AsyncExitStack() as stack:
        scheduler, sessions = SchedulerDBSource(engine), SessionDBSource(engine)
        clients = [create_redis(settings), create_redis(settings)]
        for engine_client in clients:
            on_redis(engine_client)
        source = SchedulerCacheSource(clients[0], scheduler, timeout=5.0, lifetime=_ANY_AGE)
        stack.push_async_callback(source.aclose)
        session_source = SessionCacheSource(clients[1], sessions, timeout=5.0, lifetime=_ANY_AGE)
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
