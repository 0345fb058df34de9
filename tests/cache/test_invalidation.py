"""Whoever reads a session after a write reads what was written, in this process and in others."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

import pytest
import redis.asyncio as redis_asyncio

from scheduler_repo.entities.lifecycle import (
    LostSessionAction,
    SessionAttempt,
    SessionEnd,
    SessionRetry,
    SessionStart,
)
from scheduler_repo.entities.reservation import SessionReservation
from scheduler_repo.entities.session import Session
from scheduler_repo.errors import SessionNotFound
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.reservation.db_source import ReservationDBSource
from scheduler_repo.repositories.reservation.repository import ReservationRepository
from scheduler_repo.repositories.retention.db_source import RetentionDBSource
from scheduler_repo.repositories.retention.repository import RetentionRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.types import SessionStatus
from tests.cache.world import SESSION, World
from tests.support.databases import OWNER
from tests.support.small_cluster import GROUP, place, session, session_id
from tests.support.waiting import PATIENCE

Write = Callable[["Writes"], Awaitable[object]]


class Writes:
    """One process's repositories, and what is prepared with them."""

    def __init__(self, world: World) -> None:
        """Take the process."""
        self.world = world
        self.sessions = SessionRepository(world.session_source, world.sessions)
        self.scheduler = SchedulerRepository(world.scheduler_source)
        self.lifecycle = LifecycleRepository(LifecycleDBSource(world.engine))
        self.reservations = ReservationRepository(ReservationDBSource(world.engine))
        self.retention = RetentionRepository(RetentionDBSource(world.engine))

    async def sql(self, script: str) -> None:
        """Past the package."""
        await self.world.database.run_as(OWNER, script)

    async def allocate(self) -> None:
        result = await self.scheduler.allocate_sessions(GROUP, [place(1, "a")])
        assert result.allocated == (SESSION,)

    async def prepare(self) -> None:
        await self.allocate()
        await self.lifecycle.mark_preparing([SESSION])

    async def run(self) -> None:
        await self.prepare()
        await self.lifecycle.mark_running([SessionStart(SESSION)])

    async def end(self) -> None:
        await self.allocate()
        await self.lifecycle.mark_terminated([SessionEnd(SESSION)])


async def nothing(_: Writes) -> None:
    """Nothing is to be prepared."""


async def grow_old(writes: Writes) -> None:
    await writes.end()
    await writes.sql(
        "UPDATE sessions SET status_changed_at = now() - interval '40 days';"
        "UPDATE session_history SET changed_at = changed_at - interval '40 days'"
    )


async def wait_too_long(writes: Writes) -> None:
    await writes.sql(
        "UPDATE scaling_groups SET pending_timeout = interval '1 second';"
        "UPDATE sessions SET created_at = now() - interval '1 day';"
        "UPDATE sessions SET status_changed_at = created_at"
    )


async def lose_agent(writes: Writes) -> None:
    await writes.run()
    await writes.sql("UPDATE agents SET status = 'LOST' WHERE id = 'a'")


async def fill_agent(writes: Writes) -> None:
    numbers = range(1, 11)
    await writes.scheduler.allocate_sessions(GROUP, [place(number, "a") for number in numbers])
    await writes.lifecycle.mark_preparing([session_id(number) for number in numbers])
    await writes.lifecycle.mark_running([SessionStart(session_id(number)) for number in numbers])
    await writes.sql(
        "UPDATE scaling_groups SET preemption_scope = 'GROUP';"
        f"UPDATE sessions SET priority = 1000 WHERE id = '{session_id(11)}'"
    )


async def reserve(writes: Writes) -> object:
    result = await writes.reservations.reserve_sessions(
        GROUP, [SessionReservation(session_id(11), place(11, "a").kernels, (SESSION,))]
    )
    assert result.rejected == ()
    return result


CHANGES: Final[Sequence[tuple[str, Write, Write]]] = [
    ("allocate", nothing, Writes.allocate),
    ("mark_preparing", Writes.allocate, lambda each: each.lifecycle.mark_preparing([SESSION])),
    ("mark_running", Writes.prepare, lambda each: each.lifecycle.mark_running([SessionStart(SESSION)])),
    ("mark_terminating", Writes.run, lambda each: each.lifecycle.mark_terminating([SESSION])),
    ("mark_terminated", Writes.run, lambda each: each.lifecycle.mark_terminated([SessionEnd(SESSION)])),
    ("mark_cancelled", nothing, lambda each: each.lifecycle.mark_cancelled([SESSION])),
    ("mark_error", Writes.run, lambda each: each.lifecycle.mark_error([SESSION])),
    ("requeue", Writes.prepare, lambda each: each.lifecycle.requeue_sessions([SessionRetry(SESSION)])),
    ("sweep", wait_too_long, lambda each: each.lifecycle.sweep_pending_sessions(GROUP)),
    (
        "recover",
        lose_agent,
        lambda each: each.lifecycle.recover_lost_sessions(GROUP, LostSessionAction.REQUEUE),
    ),
    (
        "mark_dispatched",
        Writes.allocate,
        lambda each: each.lifecycle.mark_dispatched([SessionAttempt(SESSION, 0)]),
    ),
    ("reserve", fill_agent, reserve),
    (
        "update_status",
        nothing,
        lambda each: each.sessions.update_status(SESSION, SessionStatus.CANCELLED),
    ),
]


class TestReadAfterWrite:
    @pytest.fixture
    def writes(self, process: World) -> Writes:
        return Writes(process)

    @pytest.mark.parametrize(("name", "prepare", "write"), CHANGES, ids=[name for name, *_ in CHANGES])
    async def test_every_write_is_seen_at_once(
        self, process: World, other_process: World, writes: Writes, name: str, prepare: Write, write: Write
    ) -> None:
        # Given a session that both processes have read
        await prepare(writes)
        before = await process.sessions.get_session_by_id(SESSION)
        await process.sessions.get_session_info(SESSION)
        await self.kept(process, other_process, before)

        # When one of them changes it
        await write(writes)

        # Then both read what it wrote
        truth = await process.session_source.get_session_by_id(SESSION)
        assert truth != before
        for each in (process, other_process):
            assert await each.sessions.get_session_by_id(SESSION) == truth
            assert await each.sessions.find_session(SESSION) == truth
            assert await each.sessions.get_session_info(SESSION) == (
                await process.session_source.get_session_info(SESSION)
            )
        # and keep it again
        await self.kept(process, other_process, truth)

    async def kept(self, process: World, other_process: World, expected: Session) -> None:
        """Wait until one process finds in Redis what the other has read: a store that takes long fails."""
        outcomes = other_process.sessions.outcomes
        async with asyncio.timeout(PATIENCE):
            while True:
                await process.sessions.get_session_by_id(SESSION)
                await process.sessions.drain()
                outcomes.clear()
                assert await other_process.sessions.get_session_by_id(SESSION) == expected
                if outcomes == {"hit": 1}:
                    return
                await other_process.sessions.drain()

    async def test_what_is_purged_is_gone(self, process: World, other_process: World, writes: Writes) -> None:
        # Given a session that ended long ago, read by both
        await grow_old(writes)
        for each in (process, other_process):
            await each.sessions.get_session_by_id(SESSION)
            await each.sessions.drain()

        # When it is purged
        assert (await writes.retention.purge(timedelta(days=30))).sessions == 1

        # Then neither finds it
        for each in (process, other_process):
            with pytest.raises(SessionNotFound):
                await each.sessions.get_session_by_id(SESSION)
            assert await each.sessions.find_session(SESSION) is None

    async def test_what_is_created_is_found(self, process: World, other_process: World, writes: Writes) -> None:
        # Given an id that both have looked for
        spec = session(77, 1)
        for each in (process, other_process):
            assert await each.sessions.find_session(spec.session_id) is None

        # When a session of this id is created
        await writes.sessions.create_session(spec)

        # Then both find it
        for each in (process, other_process):
            assert (await each.sessions.get_session_by_id(spec.session_id)).name == spec.name

    async def test_a_rejected_change_removes_nothing(
        self, process: World, writes: Writes, shared_redis: redis_asyncio.Redis
    ) -> None:
        await process.reads[0].stored()

        result = await writes.lifecycle.mark_running([SessionStart(SESSION)])

        assert result.changed == ()
        assert await shared_redis.exists(process.reads[0].key)

    async def test_a_thousand_changes_are_one_round_trip(
        self, process: World, writes: Writes, shared_redis: redis_asyncio.Redis
    ) -> None:
        # Given a thousand sessions
        specs = [session(1_000 + number, 1) for number in range(1_000)]
        await writes.sessions.create_sessions(specs)
        await shared_redis.config_resetstat()

        # When all are changed
        result = await writes.lifecycle.mark_cancelled([spec.session_id for spec in specs])

        # Then Redis was told with two commands, of a thousand keys each, in one pipeline
        assert len(result.changed) == 1_000
        stats = await shared_redis.info("commandstats")
        assert stats["cmdstat_del"]["calls"] == 2

    async def test_closed_sources_are_told_nothing(
        self, process: World, other_process: World, writes: Writes
    ) -> None:
        before = await other_process.reads[0].stored()
        await process.sessions.aclose()

        await writes.allocate()

        assert await other_process.reads[0].read() == before
