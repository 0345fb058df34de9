"""Parts that do not fit together are refused where they are put together, before anything is asked."""

from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest

from scheduler_repo.cache.client import create_valkey_client
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import Refresh
from scheduler_repo.errors import InvalidSettings, InvalidWiring
from scheduler_repo.leadership import LeaseKeeper
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.scheduler.tracker import SnapshotTracker
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.planner.protocol import IncrementalPlan, Planner
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl
from scheduler_repo.types import LeaseHolder, ScalingGroupName

GROUP = ScalingGroupName("wiring")
URL = "postgresql://somebody:secret@db.example/cluster"


class TestSettings:
    @pytest.mark.parametrize("wrong", [URL, SecretUrl(URL), CacheSettings(url=SecretUrl(URL)), None])
    def test_an_engine_of_no_settings(self, wrong: object) -> None:
        with pytest.raises(InvalidWiring, match=r"settings is .*must be a DatabaseSettings; give ") as raised:
            create_engine(cast(DatabaseSettings, wrong))
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize("wrong", ["redis://h", DatabaseSettings(url=SecretUrl(URL)), None])
    def test_a_client_of_no_settings(self, wrong: object) -> None:
        with pytest.raises(InvalidWiring, match=r"settings is .*must be a CacheSettings; give "):
            create_valkey_client(cast(CacheSettings, wrong))

    @pytest.mark.parametrize(
        "url", ["nowhere", "postgresql://h:secret@h/d", "redis://h/0?db=none", "redis://h:x/0"]
    )
    def test_a_client_of_a_url_that_is_none(self, url: str) -> None:
        with pytest.raises(InvalidSettings, match="the Redis URL cannot be read") as raised:
            create_valkey_client(CacheSettings(url=SecretUrl(url)))
        assert "secret" not in str(raised.value)


class Unplanned:
    """Nothing that plans."""


class Later:
    """A planner that would have to be awaited."""

    async def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        return ()


class ChangesLater(BestFitPlanner):
    """A planner whose plans from changes would have to be awaited."""

    async def plan_changes(self, refresh: Refresh) -> IncrementalPlan:  # type: ignore[override]
        return IncrementalPlan(())


class TestLoop:
    @pytest.fixture
    async def engine(self) -> AsyncIterator[ExtendedAsyncSAEngine]:
        engine = create_engine(DatabaseSettings(url=SecretUrl(URL)))  # which never connects
        yield engine
        await engine.dispose()

    @pytest.fixture
    def repository(self, engine: ExtendedAsyncSAEngine) -> SchedulerRepository:
        return SchedulerRepository(SchedulerDBSource(engine))

    @pytest.mark.parametrize(
        ("planner", "said"),
        [
            (BestFitPlanner, r"planner is the class BestFitPlanner; give an object, BestFitPlanner\(\)"),
            (Unplanned(), r"planner is a Unplanned without a method plan\(data\)"),
            (None, "planner is a NoneType without a method plan"),
            (Later(), r"Later.plan\(\) is a coroutine function; it must be a plain function"),
            (ChangesLater(), r"ChangesLater.plan_changes\(\) is a coroutine function; .* an IncrementalPlan"),
        ],
    )
    def test_a_planner_that_is_none(self, repository: SchedulerRepository, planner: object, said: str) -> None:
        with pytest.raises(InvalidWiring, match=said):
            SchedulerLoop(repository, cast(Planner, planner), GROUP)

    def test_a_loop_over_a_source(self, engine: ExtendedAsyncSAEngine) -> None:
        wrong = cast(SchedulerRepository, SchedulerDBSource(engine))
        with pytest.raises(InvalidWiring, match=r"repository is a SchedulerDBSource, it must be a Scheduler"):
            SchedulerLoop(wrong, BestFitPlanner(), GROUP)

    def test_a_loop_with_other_parts(self, repository: SchedulerRepository) -> None:
        planner = BestFitPlanner()
        with pytest.raises(InvalidWiring, match=r"lease_keeper is .*it must be a LeaseKeeper"):
            SchedulerLoop(repository, planner, GROUP, lease_keeper=cast(LeaseKeeper, repository))
        with pytest.raises(InvalidWiring, match=r"audit is .*it must be an AuditRepository"):
            SchedulerLoop(repository, planner, GROUP, audit=cast(AuditRepository, repository))
        with pytest.raises(InvalidWiring, match=r"tracker is .*give repository.make_tracker\(\)"):
            SchedulerLoop(repository, planner, GROUP, tracker=cast(SnapshotTracker, repository))
        with pytest.raises(InvalidWiring, match="tracker is given beside full_reads"):
            SchedulerLoop(repository, planner, GROUP, tracker=repository.make_tracker(), full_reads=True)

    def test_a_keeper_over_another_repository(self, repository: SchedulerRepository) -> None:
        with pytest.raises(InvalidWiring, match=r"repository is a SchedulerRepository, it must be a Lease"):
            LeaseKeeper(cast(LeaseRepository, repository), GROUP, LeaseHolder("me"))
