"""Among many writers no change is missed and none applied twice; without one part of the cursor some are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from time import monotonic
from typing import Final

import asyncpg
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.database.statements import Statement
from scheduler_repo.repositories.scheduler import changes
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName
from tests.deltas.held_answers import HeldAnswers
from tests.deltas.writes import SETUP, WRITES, create, move
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection

pytestmark = pytest.mark.slow

_WRITERS: Final = 12
_SECONDS: Final = 60.0
# What is missed without a part shows long before.
_MOST_SECONDS: Final = 240.0
_GPU: Final = ScalingGroupName("gpu")
_IN_PROGRESS: Final = "SELECT pg_snapshot_xip($1::text::pg_snapshot)"


class Crowd:
    """Writers, each in transactions of its own; the first one keeps its open for seconds."""

    def __init__(self, writers: list[DriverConnection]) -> None:
        self._writers = writers
        self._is_stopped = False
        self.commits = 0

    async def write(self, number: int) -> None:
        rng, writer = Random(number), self._writers[number]  # noqa: S311 - a workload, not a secret
        while not self._is_stopped:
            try:
                async with writer.transaction():
                    for _ in range(rng.randrange(1, 4)):
                        await rng.choice(WRITES)(writer, rng)
                        await asyncio.sleep(rng.random() * 0.02)
                    if number == 0:
                        await asyncio.sleep(2.0)
                self.commits += 1
            except asyncpg.PostgresError:
                continue

    def stop(self) -> None:
        self._is_stopped = True


@asynccontextmanager
async def crowd(database: Database) -> AsyncIterator[tuple[Crowd, ExtendedAsyncSAEngine]]:
    async with AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(database.driver_as(OWNER)) for _ in range(_WRITERS)]
        await writers[0].execute(SETUP)
        for seed in range(40):
            for write in (create, move):
                await write(writers[0], Random(seed))  # noqa: S311 - a workload, not a secret
        for writer in writers:
            await writer.execute("SET lock_timeout = '100ms'")
        engine = create_engine(DatabaseSettings(url=SecretUrl(database.url_as(SCHEDULER)), pool_size=2))
        stack.push_async_callback(engine.dispose)
        at_work = Crowd(writers)
        async with asyncio.TaskGroup() as group:
            for number in range(_WRITERS):
                group.create_task(at_work.write(number))
            try:
                yield at_work, engine
            finally:
                at_work.stop()


async def first_miss(engine: ExtendedAsyncSAEngine, seconds: float) -> int:
    """Refresh for so long, and return after how many answers one differed from a full read; 0 for none."""
    answers = HeldAnswers(SchedulerDBSource(engine), ((_GPU, None), (_GPU, 7)))
    until = monotonic() + seconds
    while monotonic() < until:
        try:
            await answers.check_all()
        except (AssertionError, LookupError):
            return answers.outcomes.total()
    assert answers.outcomes["changes"] > 0
    return 0


class TestMissedChanges:
    async def test_are_none_beside_twelve_writers(self, fresh_database: Database) -> None:
        async with crowd(fresh_database) as (at_work, engine):
            assert await first_miss(engine, _SECONDS) == 0
            assert at_work.commits > 0

    async def test_are_some_without_what_was_in_progress(
        self, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = changes.CHANGES_SINCE.text.replace(_IN_PROGRESS, "SELECT NULL::xid8")
        assert text.count("SELECT NULL::xid8") == 2
        monkeypatch.setattr(changes, "CHANGES_SINCE", Statement("changes_since", text))
        async with crowd(fresh_database) as (_, engine):
            assert await first_miss(engine, _MOST_SECONDS) > 0

    async def test_are_some_at_read_committed(
        self, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
        monkeypatch.setattr("scheduler_repo.database.engine._BEGIN_READONLY", begin)
        async with crowd(fresh_database) as (_, engine):
            assert await first_miss(engine, _MOST_SECONDS) > 0
