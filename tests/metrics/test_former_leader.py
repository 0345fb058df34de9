"""A process that leads no more exports nothing of what it found as the leader."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from time import monotonic
from typing import Final

import msgspec
import pytest

from scheduler_repo import leadership
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.errors import StaleLeaseError
from scheduler_repo.leadership import LeaseKeeper
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import LeaseHolder, ScalingGroupName
from tests.metrics.package_metrics import gauge_samples
from tests.support.databases import OWNER, Database

TTL: Final = timedelta(seconds=60)
ADA: Final = LeaseHolder("ada")
BOB: Final = LeaseHolder("bob")
# What these show is so when they are scraped, whoever leads.
OF_NOW: Final = {
    "backendai_layer_operation_triggered_count",
    "scheduler_repo_cache_open_breakers",
    "scheduler_repo_pool_callers_waiting",
    "scheduler_repo_pool_connections_in_use",
    "scheduler_repo_pool_size",
}


class SparingPlanner:
    """Plans as many sessions as it is told, so that some go on waiting."""

    def __init__(self) -> None:
        self.sessions = 1

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        return BestFitPlanner().plan(data)[: self.sessions]


class Leader(msgspec.Struct, frozen=True):
    """A loop inside its keeper's block, and ways to take the lease from it."""

    group: ScalingGroupName
    keeper: LeaseKeeper
    loop: SchedulerLoop
    planner: SparingPlanner
    leases: LeaseRepository
    database: Database

    async def is_overtaken(self) -> None:
        await self.database.run_as(OWNER, "UPDATE scheduler_leases SET expires_at = clock_timestamp()")
        await self.leases.acquire_lease(self.group, BOB, TTL)


def shown(group: ScalingGroupName) -> set[str]:
    """The gauges that show what a tick of the group found, or what the last audit did."""
    return {
        name
        for name, labels in gauge_samples()
        if name not in OF_NOW and labels.get("scaling_group", group) == group
    }


async def finds_out_by_a_write(leader: Leader, _: pytest.MonkeyPatch) -> None:
    await leader.is_overtaken()
    with pytest.raises(StaleLeaseError):
        await leader.loop.tick()


async def finds_out_by_renewing(leader: Leader, _: pytest.MonkeyPatch) -> None:
    await leader.is_overtaken()
    await leader.keeper._renew_once()


async def cannot_renew_in_time(leader: Leader, monkeypatch: pytest.MonkeyPatch) -> None:
    later = monotonic() + TTL.total_seconds()
    monkeypatch.setattr(leadership, "monotonic", lambda: later)


async def leads_again_without_a_tick(leader: Leader, _: pytest.MonkeyPatch) -> None:
    await leader.keeper.reacquire()


async def ticks_without_the_lease(leader: Leader, monkeypatch: pytest.MonkeyPatch) -> None:
    await finds_out_by_renewing(leader, monkeypatch)
    leader.planner.sessions = 0
    await leader.loop.tick()


LOSSES: Final[tuple[Callable[[Leader, pytest.MonkeyPatch], Awaitable[None]], ...]] = (
    finds_out_by_a_write,
    finds_out_by_renewing,
    cannot_renew_in_time,
    leads_again_without_a_tick,
    ticks_without_the_lease,
)


class TestFormerLeader:
    @pytest.fixture
    async def leader(
        self, engine: ExtendedAsyncSAEngine, group: ScalingGroupName, fresh_database: Database
    ) -> AsyncIterator[Leader]:
        leases = LeaseRepository(LeaseDBSource(engine))
        async with LeaseKeeper(leases, group, ADA, TTL) as keeper:
            planner = SparingPlanner()
            loop = SchedulerLoop(
                SchedulerRepository(SchedulerDBSource(engine)),
                planner,
                group,
                lease_keeper=keeper,
                audit=AuditRepository(AuditDBSource(engine)),
                audit_every=1,
            )
            yield Leader(group, keeper, loop, planner, leases, fresh_database)

    @pytest.mark.parametrize("lose", LOSSES, ids=lambda value: value.__name__)
    async def test_every_gauge_of_a_tick_is_withdrawn(
        self,
        leader: Leader,
        lose: Callable[[Leader, pytest.MonkeyPatch], Awaitable[None]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # given
        await leader.loop.tick()
        assert shown(leader.group) == {
            "scheduler_repo_pending_sessions",
            "scheduler_repo_audit_findings",
            "scheduler_repo_log_rows",
            "scheduler_repo_log_kept_age_sec",
        }
        # when
        await lose(leader, monkeypatch)
        # then
        assert shown(leader.group) == set()

    async def test_a_leader_that_releases_its_lease(
        self, engine: ExtendedAsyncSAEngine, group: ScalingGroupName
    ) -> None:
        # given
        async with LeaseKeeper(LeaseRepository(LeaseDBSource(engine)), group, ADA, TTL) as keeper:
            repository = SchedulerRepository(SchedulerDBSource(engine))
            audit = AuditRepository(AuditDBSource(engine))
            await SchedulerLoop(
                repository, BestFitPlanner(), group, lease_keeper=keeper, audit=audit, audit_every=1
            ).tick()
            assert shown(group)
        # then
        assert shown(group) == set()

    async def test_a_leader_that_renews_its_lease_goes_on(self, leader: Leader) -> None:
        # given
        await leader.loop.tick()
        before = shown(leader.group)
        # when
        await leader.keeper._renew_once()
        # then
        assert shown(leader.group) == before != set()

    async def test_a_successor_in_the_same_process_is_shown(
        self, leader: Leader, engine: ExtendedAsyncSAEngine
    ) -> None:
        # given
        await leader.loop.tick()
        await leader.is_overtaken()
        async with LeaseKeeper(leader.leases, leader.group, BOB, TTL) as keeper:
            repository = SchedulerRepository(SchedulerDBSource(engine))
            await SchedulerLoop(repository, BestFitPlanner(), leader.group, lease_keeper=keeper).tick()
            # when
            await leader.keeper._renew_once()
            # then
            assert shown(leader.group) == {"scheduler_repo_pending_sessions"}
