"""What was read before a change is never kept after it, whatever is slow, lost or cut off in between."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
import redis.asyncio as redis_asyncio
from prometheus_client import REGISTRY

from scheduler_repo.cache import pending_invalidations as invalidations
from scheduler_repo.cache.client import create_redis
from scheduler_repo.cache.metrics import CacheOutcome
from scheduler_repo.database.engine import create_engine
from scheduler_repo.embedded import EmbeddedValkey
from scheduler_repo.entities.lifecycle import SessionRetry
from scheduler_repo.errors import OutcomeUnknown
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.cache_source import SessionCacheSource
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl
from scheduler_repo.types import SessionStatus
from tests.cache.world import SESSION, World, direct, world
from tests.support.databases import SCHEDULER, Database
from tests.support.redis_proxy import Mode, RedisProxy
from tests.support.small_cluster import GROUP, place
from tests.support.waiting import PATIENCE
from tests.support.wire_proxy import Point, Side

KEY: Final = f"scheduler_repo:session:{SESSION}"
# A part of the statement that reads one session.
_STATEMENT: Final = "FROM sessions"
_RECOVERY: Final = 0.1
_ROUNDS: Final = 24


async def cancel(at: World) -> None:
    """A write, by way of the process's engine."""
    await SessionRepository(at.session_source).update_status(SESSION, SessionStatus.CANCELLED)


async def status(at: World) -> SessionStatus:
    """What a reader in the process gets."""
    return (await at.sessions.get_session_by_id(SESSION)).status


def stores(at: World, outcome: str) -> float:
    return at.reads[0].stores(outcome)


class TestSlowReader:
    async def test_between_its_read_and_its_store(self, process: World, other_process: World) -> None:
        # Given a reader that has its answer from the database, and has not stored it
        hold = other_process.sql_proxy.hold(Point.FETCH, Side.ANSWER, _STATEMENT)
        reader = asyncio.create_task(status(other_process))
        await hold.reached(reader)
        superseded = stores(other_process, "superseded")

        # When another process changes the session, and the reader goes on
        await cancel(process)
        hold.release()
        assert await reader is SessionStatus.PENDING
        await other_process.sessions.drain()

        # Then what it had read was not stored
        assert stores(other_process, "superseded") - superseded == 1
        assert await status(other_process) is SessionStatus.CANCELLED
        assert await status(process) is SessionStatus.CANCELLED

    async def test_while_others_fill_the_key_again(self, process: World, other_process: World) -> None:
        # Given such a reader
        hold = other_process.sql_proxy.hold(Point.FETCH, Side.ANSWER, _STATEMENT)
        reader = asyncio.create_task(status(other_process))
        await hold.reached(reader)

        # When the session is changed, and read and stored by the other process before the reader goes on
        await cancel(process)
        await process.reads[0].stored()
        hold.release()
        await reader
        await other_process.sessions.drain()

        # Then the newer entry stands
        assert await status(process) is SessionStatus.CANCELLED
        assert process.sessions.outcomes[CacheOutcome.HIT] == 1

    async def test_while_the_cache_is_flushed(
        self, process: World, other_process: World, shared_redis: redis_asyncio.Redis
    ) -> None:
        hold = other_process.sql_proxy.hold(Point.FETCH, Side.ANSWER, _STATEMENT)
        reader = asyncio.create_task(status(other_process))
        await hold.reached(reader)

        await cancel(process)
        await shared_redis.flushdb()
        hold.release()
        await reader
        await other_process.sessions.drain()

        assert not await shared_redis.exists(KEY)

    async def test_whose_store_arrives_late(
        self, failing: World, own_proxy: RedisProxy, valkey: EmbeddedValkey, loaded: Database
    ) -> None:
        # Given a reader whose store is held up on the way
        own_proxy.mode = Mode.HOLD_SCRIPT
        assert await status(failing) is SessionStatus.PENDING
        await own_proxy.held.wait()

        # When the session is changed by a process with a connection of its own, and the store arrives then
        async with world(loaded, valkey.url) as other:
            await cancel(other)
            own_proxy.deliver.set()
            own_proxy.mode = Mode.FORWARD
            await failing.sessions.drain()

            # Then it stores nothing
            assert await status(other) is SessionStatus.CANCELLED

    async def test_that_fails_leaves_no_lease(self, process: World, shared_redis: redis_asyncio.Redis) -> None:
        hold = process.sql_proxy.hold(Point.FETCH, Side.ANSWER, _STATEMENT)
        reader = asyncio.create_task(status(process))
        await hold.reached(reader)
        assert await shared_redis.exists(KEY)

        reader.cancel()
        await asyncio.wait([reader])
        await process.sessions.drain()

        assert not await shared_redis.exists(KEY)


class TestManyReaders:
    async def test_beside_a_writer(self, process: World, other_process: World) -> None:
        # Given readers in both processes who ask without a pause
        lifecycle = LifecycleRepository(LifecycleDBSource(process.engine))
        is_over = False

        async def ask(at: World) -> int:
            seen = 0
            while not is_over:
                await status(at)
                seen += 1
            return seen

        readers = [asyncio.create_task(ask(at)) for at in (process, other_process) for _ in range(3)]

        # When the session is placed and put back again and again
        wrong = []
        for round_number in range(_ROUNDS):
            if round_number % 2:
                await lifecycle.requeue_sessions([SessionRetry(SESSION)])
            else:
                await SchedulerRepository(process.scheduler_source).allocate_sessions(GROUP, [place(1, "a")])
            truth = await process.session_source.get_session_by_id(SESSION)
            # Then both processes read each change as soon as it is made
            for at in (process, other_process):
                if at is other_process:
                    # A read that began there before the change is shared until it ends.
                    await status(at)
                found = await at.sessions.get_session_by_id(SESSION)
                if found != truth:
                    wrong.append((round_number, at is process, found.status))
        is_over = True
        seen = sum(await asyncio.gather(*readers))
        assert wrong == []
        assert process.sessions.outcomes[CacheOutcome.HIT] > 0
        assert seen > _ROUNDS


class TestLostInvalidation:
    @pytest.fixture
    async def recovering(self, loaded: Database, own_proxy: RedisProxy) -> AsyncIterator[World]:
        """A process whose breaker soon closes again."""
        async with world(loaded, own_proxy.url, _RECOVERY) as made:
            yield made

    @pytest.fixture
    async def bystander(self, loaded: Database, valkey: EmbeddedValkey) -> AsyncIterator[World]:
        """Another process, past the proxy."""
        async with world(loaded, valkey.url) as made:
            yield made

    async def test_it_is_made_up_for_before_the_cache_is_used_again(
        self, recovering: World, bystander: World, own_proxy: RedisProxy
    ) -> None:
        # Given an entry, and a cache that does not answer the writer
        await recovering.reads[0].stored()
        own_proxy.mode = Mode.SWALLOW
        failed = _failed_invalidations()

        # When the session is changed, and no probe waits long for what is swallowed
        with recovering.hurried():
            await cancel(recovering)

            # Then the write went through, and its process reads it
            assert _failed_invalidations() > failed
            assert await status(recovering) is SessionStatus.CANCELLED
            assert await status(bystander) is SessionStatus.PENDING
            # and when the cache answers again, the entry is gone for all before it is used
            own_proxy.mode = Mode.FORWARD
        async with asyncio.timeout(PATIENCE):
            await recovering.sessions.client.recovered()
        assert await status(bystander) is SessionStatus.CANCELLED
        assert await status(recovering) is SessionStatus.CANCELLED

    async def test_a_server_that_only_reads(self, recovering: World, own_redis: redis_asyncio.Redis) -> None:
        # Given an entry on a server that has become a replica
        await recovering.reads[0].stored()
        await own_redis.replicaof("127.0.0.1", "1")

        # When the session is changed
        await cancel(recovering)

        # Then the entry, which could not be removed, is not believed
        assert await own_redis.exists(KEY)
        assert await status(recovering) is SessionStatus.CANCELLED
        assert recovering.sessions.outcomes[CacheOutcome.INVALIDATED] == 1
        assert not recovering.sessions.client.is_open

    async def test_more_than_can_be_remembered(
        self, recovering: World, own_proxy: RedisProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a process that remembers next to nothing, and a cache that does not answer it
        monkeypatch.setattr(invalidations, "_MAX_DOUBTED", 1)
        await recovering.reads[0].stored()
        own_proxy.mode = Mode.SWALLOW

        # When the session is changed and the cache answers again
        with recovering.hurried():
            await cancel(recovering)
        own_proxy.mode = Mode.FORWARD
        async with asyncio.timeout(PATIENCE):
            await recovering.sessions.client.recovered()

        # Then no entry is believed
        assert await status(recovering) is SessionStatus.CANCELLED
        assert recovering.sessions.outcomes[CacheOutcome.INVALIDATED] == 1

    async def test_expiry_bounds_what_nobody_invalidates(
        self, loaded: Database, valkey: EmbeddedValkey
    ) -> None:
        # Given an entry of a minute's life
        engine = create_engine(DatabaseSettings(url=SecretUrl(loaded.url_as(SCHEDULER))))
        redis = create_redis(CacheSettings(url=SecretUrl(valkey.url), timeout=PATIENCE))
        source = SessionCacheSource(redis, SessionDBSource(engine), timeout=PATIENCE, lifetime=60.0)
        await source.get_session_by_id(SESSION)
        await source.drain()

        async with direct(valkey.url) as client, world(loaded, valkey.url) as other:
            assert 0 < await client.pttl(KEY) <= 60_000
            # When the writer is gone before it could remove it
            await other.sessions.aclose()
            await cancel(other)

            # Then the old answer is given until the entry ends, and no longer
            assert (await source.get_session_by_id(SESSION)).status is SessionStatus.PENDING
            assert await client.pexpire(KEY, 1)
            async with asyncio.timeout(PATIENCE):
                while await client.exists(KEY):
                    await client.ping()
            assert (await source.get_session_by_id(SESSION)).status is SessionStatus.CANCELLED
        await source.aclose()
        await engine.dispose()

    async def test_an_entry_that_lost_its_end(self, process: World, shared_redis: redis_asyncio.Redis) -> None:
        # Given an entry that would last for ever
        await process.reads[0].stored()
        assert await shared_redis.persist(KEY)

        # When a process reads it that believes none so old
        source = SessionCacheSource(process.sessions.client, process.session_source, lifetime=0.02)
        await asyncio.sleep(0.03)
        await source.get_session_by_id(SESSION)

        # Then it asks the database
        assert source.outcomes == {CacheOutcome.TOO_OLD: 1}
        await source.aclose()


def _failed_invalidations() -> float:
    name = "scheduler_repo_cache_failed_invalidation_count_total"
    return REGISTRY.get_sample_value(name, {"cache": "session"}) or 0.0


class TestWritesThatAreCutOff:
    @pytest.fixture(autouse=True)
    def soon_settled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A COMMIT that is under way here is done in no time."""
        monkeypatch.setattr(invalidations, "_SETTLE_SECONDS", 0.3)

    async def test_cancelled_at_commit(self, process: World, other_process: World) -> None:
        # Given an entry, and a write whose COMMIT has been done and not been answered
        await process.reads[0].stored()
        hold = process.sql_proxy.hold(Point.COMMIT, Side.ANSWER)
        write = asyncio.create_task(cancel(process))
        await hold.reached(write)

        # When the write is cancelled
        write.cancel()
        await asyncio.wait([write])
        assert write.cancelled()

        # Then its process reads what was written at once, the others soon
        assert await status(process) is SessionStatus.CANCELLED
        await process.sessions.drain()
        assert await status(other_process) is SessionStatus.CANCELLED

    async def test_cancelled_before_the_commit_is_seen(
        self, process: World, other_process: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a write whose COMMIT is still on its way
        monkeypatch.setattr(invalidations, "_SETTLE_SECONDS", PATIENCE)
        await process.reads[0].stored()
        hold = process.sql_proxy.hold(Point.COMMIT, Side.REQUEST)
        write = asyncio.create_task(cancel(process))
        await hold.reached(write)

        # When it is cancelled, another process reads, and the COMMIT arrives only then
        write.cancel()
        await asyncio.wait([write])
        await process.sessions.client.remove((KEY,))
        await other_process.reads[0].stored()
        hold.release()
        async with asyncio.timeout(PATIENCE):
            truth = await process.session_source.get_session_by_id(SESSION)
            while truth.status is not SessionStatus.CANCELLED:
                truth = await process.session_source.get_session_by_id(SESSION)

        # Then what is kept in the end is what was written
        process.sessions._invalidations.hurry()
        await process.sessions.drain()
        assert await status(process) is truth.status
        assert await status(other_process) is truth.status

    async def test_commit_that_was_lost(self, process: World) -> None:
        # Given a server that cannot be asked again after the COMMIT
        await process.reads[0].stored()
        process.engine.resolve_timeout = 0.3
        hold = process.sql_proxy.hold(Point.COMMIT, Side.ANSWER)
        write = asyncio.create_task(cancel(process))
        await hold.reached(write)

        # When the connection is lost
        process.sql_proxy.refuses = True
        hold.drop()
        with pytest.raises(OutcomeUnknown):
            await write
        process.sql_proxy.refuses = False

        # Then what was written is read
        assert await status(process) is SessionStatus.CANCELLED

    async def test_cancelled_while_redis_is_told(
        self, failing: World, own_proxy: RedisProxy, own_redis: redis_asyncio.Redis
    ) -> None:
        # Given a write that is done, and waits for Redis
        await failing.reads[0].stored()
        own_proxy.mode = Mode.SWALLOW
        with failing.hurried():
            write = asyncio.create_task(cancel(failing))
            await own_proxy.swallowed.wait()

            # When it is cancelled
            write.cancel()
            await asyncio.wait([write])

            # Then what was written is read all the same
            assert await status(failing) is SessionStatus.CANCELLED
            await failing.sessions.drain()
