"""Every figure of a SchedulingData is true of the same instant, whoever commits meanwhile."""

from collections.abc import AsyncIterator, Iterable
from itertools import zip_longest

import msgspec
import pytest

from scheduler_repo.database import engine as engine_module
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import SlotVector
from tests.support.busy_cluster import AGENTS, GROUP, Writers, writers_at_work
from tests.support.databases import SCHEDULER, Database

# For each that is to be disturbed.
MOST_READS = 100


class Reads(msgspec.Struct):
    """What came of a number of reads; a disturbed one had commits between its start and its end."""

    torn: int = 0
    disturbed: int = 0


def _total(vectors: Iterable[SlotVector]) -> SlotVector:
    return tuple(sum(amounts) for amounts in zip_longest(*vectors, fillvalue=0))


def is_torn(data: SchedulingData) -> bool:
    """Whether two figures that are equal at every instant differ.

    Every session has one kernel and every owner one that waits, so the same is held by agents and by owners.
    """
    scopes = (data.access_keys, data.users, data.projects, data.domains)
    held = {_total(usage.occupied for usage in usages) for usages in scopes}
    held.add(_total(agent.occupied for agent in data.agents))
    counts = {sum(usage.session_count for usage in usages) for usages in scopes}
    counts.add(sum(agent.container_count for agent in data.agents))
    return len(held) > 1 or len(counts) > 1


async def torn_reads(db_source: SchedulerDBSource, writers: Writers, disturbed: int) -> Reads:
    """Read while the writers work, until so many reads were disturbed or one was torn."""
    result = Reads()
    for _ in range(MOST_READS * disturbed):
        if result.torn or result.disturbed == disturbed:
            break
        before = writers.commits
        data = (await db_source.get_scheduling_data(GROUP)).data
        result.disturbed += writers.commits > before
        result.torn += is_torn(data)
        assert len(data.agents) == len(AGENTS)
    return result


class TestOneInstant:
    @pytest.fixture
    async def writing_engine(self, migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        """An engine apart from the reader's, so that neither waits for the other's connections."""
        settings = DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER)))
        engine = create_engine(settings)
        yield engine
        await engine.dispose()

    @pytest.mark.parametrize("count", [30, pytest.param(1_000, marks=pytest.mark.slow)])
    async def test_no_read_is_torn(
        self,
        migrated_database: Database,
        db_source: SchedulerDBSource,
        writing_engine: ExtendedAsyncSAEngine,
        count: int,
    ) -> None:
        # given
        async with writers_at_work(migrated_database, writing_engine) as writers:
            # when
            reads = await torn_reads(db_source, writers, count)
        # then
        assert reads.torn == 0
        assert reads.disturbed == count

    async def test_reads_at_read_committed_are_torn(
        self,
        migrated_database: Database,
        db_source: SchedulerDBSource,
        writing_engine: ExtendedAsyncSAEngine,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # given
        monkeypatch.setattr(engine_module, "_BEGIN_READONLY", "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY")
        async with writers_at_work(migrated_database, writing_engine) as writers:
            # when
            reads = await torn_reads(db_source, writers, 1_000)
        # then
        assert reads.torn > 0
