"""When the ticks fold what is logged of usage, where no sweeper does; the clock is the test's."""

from typing import Optional

import pytest

from scheduler_repo.connection import open_repositories
from scheduler_repo.errors import DatabaseUnavailable, SchedulerRepoError
from scheduler_repo.loop import scheduler_loop
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from tests.support.databases import SCHEDULER, Database
from tests.support.small_cluster import GROUP, agent, cluster, session


class Folding(SchedulerRepository):
    """Counts the folds; each finds as many rows, or fails, as the test says."""

    folds = 0
    answer: Optional[int] = 0
    failure: Optional[SchedulerRepoError] = None

    async def fold_usage(self) -> Optional[int]:
        self.folds += 1
        if self.failure is not None:
            raise self.failure
        return self.answer


class TestFolding:
    async def test_is_done_once_a_second_where_something_has_changed(
        self, migrated_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1_000.0
        monkeypatch.setattr(scheduler_loop, "monotonic", lambda: now)
        async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:
            await repos.cluster.load_cluster(cluster([agent("a1", cpu=2)], []))
            scheduler = Folding(repos.scheduler._db_source)
            loop = SchedulerLoop(scheduler, BestFitPlanner(), GROUP)

            async def folds(seconds: float) -> int:
                nonlocal now
                now += seconds
                before = scheduler.folds
                await loop.tick()
                return scheduler.folds - before

            # A first read may have found what others left; then nothing changes.
            assert [await folds(1.0) for _ in range(3)] == [1, 0, 0]
            # What others wrote is folded; what the tick itself wrote is read next, sooner than a fold is due.
            await repos.sessions.enqueue_sessions([session(1, 1)])
            assert [await folds(1.0), await folds(0.5), await folds(0.5), await folds(1.0)] == [1, 0, 1, 0]
            # Others may have written what this group does not see.
            assert [await folds(57.0), await folds(2.0), await folds(59.0)] == [0, 1, 0]
            # One that failed, found another process at it, or left something is done again.
            await repos.sessions.enqueue_sessions([session(2, 1)])
            scheduler.failure = DatabaseUnavailable("gone")
            assert await folds(1.0) == 1
            scheduler.failure, scheduler.answer = None, None
            assert await folds(1.0) == 1
            scheduler.answer = 100_000
            assert await folds(1.0) == 1
            scheduler.answer = 99_999
            assert [await folds(1.0), await folds(1.0)] == [1, 0]
