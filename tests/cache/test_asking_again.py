"""A write that is asked for again, as its answer was lost, is as good as one that answered the first time."""

import asyncio
from collections.abc import Collection, Coroutine
from uuid import uuid4

import pytest
import redis.asyncio as redis_asyncio

from scheduler_repo.cache import pending_invalidations as invalidations
from scheduler_repo.cache.metrics import CacheOutcome
from scheduler_repo.database.change_listeners import listen
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.types import OperationId, SessionId, SessionStatus
from tests.cache.world import SESSION, World
from tests.support.wire_proxy import Point, Side


async def cancel(at: World, operation_id: OperationId) -> None:
    """A write, by way of a process with a cache."""
    repository = SessionRepository(at.session_source, at.sessions)
    await repository.update_status(SESSION, SessionStatus.CANCELLED, operation_id=operation_id)


async def status(at: World) -> SessionStatus:
    """What a reader in the process gets."""
    return (await at.sessions.get_session_by_id(SESSION)).status


class _Canceller:
    """Cancels a write when it is about to tell its listeners."""

    def __init__(self, write: "asyncio.Task[None]") -> None:
        self.write = write

    def sessions_changed(self, session_ids: Collection[SessionId]) -> Coroutine[None, None, None]:
        asyncio.get_running_loop().call_soon(self.write.cancel)
        return self._done()

    def sessions_may_have_changed(self, session_ids: Collection[SessionId]) -> None:
        """Has no copies."""

    async def _done(self) -> None:
        """Nothing is left to do."""


class TestAskingAgain:
    @pytest.fixture
    def operation_id(self) -> OperationId:
        return OperationId(uuid4())

    async def test_by_another_process(
        self, process: World, other_process: World, operation_id: OperationId
    ) -> None:
        # Given an entry, and a write of a process that ended before it could remove it
        await process.reads[0].stored()
        await process.sessions.aclose()
        repository = SessionRepository(process.session_source)
        await repository.update_status(SESSION, SessionStatus.CANCELLED, operation_id=operation_id)
        assert await status(other_process) is SessionStatus.PENDING

        # When another process asks for it again
        await cancel(other_process, operation_id)

        # Then it reads what was written
        assert await status(other_process) is SessionStatus.CANCELLED

    async def test_of_a_commit_that_is_very_slow(
        self, process: World, operation_id: OperationId, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a write that was cancelled at its COMMIT, which outlasts all waiting for it
        monkeypatch.setattr(invalidations, "_SETTLE_SECONDS", 0.05)
        hold = process.sql_proxy.hold(Point.COMMIT, Side.REQUEST)
        write = asyncio.create_task(cancel(process, operation_id))
        await hold.reached(write)
        write.cancel()
        await asyncio.wait([write])
        await process.sessions.drain()
        # and what was read and kept before it arrived
        await process.reads[0].stored()
        assert await status(process) is SessionStatus.PENDING

        # When it is asked for again
        hold.release()
        await cancel(process, operation_id)

        # Then what was written is read
        assert await status(process) is SessionStatus.CANCELLED

    async def test_not_at_all_though_cancelled_right_after_the_commit(
        self, process: World, operation_id: OperationId, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given an entry, and a write that is cancelled before the first of its listeners runs
        monkeypatch.setattr(invalidations, "_SETTLE_SECONDS", 0.05)
        await process.reads[0].stored()
        write = asyncio.create_task(cancel(process, operation_id))
        canceller = _Canceller(write)
        listen(process.engine, canceller)
        await asyncio.wait([write])
        assert write.cancelled()

        # Then what was written is read
        assert await status(process) is SessionStatus.CANCELLED
        await process.sessions.drain()
        assert await status(process) is SessionStatus.CANCELLED


class TestCrash:
    async def test_what_a_server_brings_back_is_not_believed(
        self, process: World, shared_redis: redis_asyncio.Redis
    ) -> None:
        # Given an entry that was removed when its session was changed
        each = process.reads[0]
        await each.stored()
        entry = await shared_redis.dump(each.key)
        assert entry is not None
        await cancel(process, OperationId(uuid4()))
        assert not await shared_redis.exists(each.key)

        # When the server has it again, as after a crash
        await shared_redis.restore(each.key, 60_000, entry)

        # Then what was written is read, and kept
        process.sessions.outcomes.clear()
        assert await status(process) is SessionStatus.CANCELLED
        assert process.sessions.outcomes == {"invalidated": 1}
        await process.sessions.drain()
        await each.stored()
        assert await status(process) is SessionStatus.CANCELLED
        assert process.sessions.outcomes[CacheOutcome.HIT] == 1
