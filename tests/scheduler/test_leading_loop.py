"""The loop under a lease, the loop that audits, and what it trims."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Optional

import pytest
from prometheus_client import REGISTRY

from scheduler_repo import leadership
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.log_keeping import KEPT_FOR
from scheduler_repo.entities.audit import AuditCheck
from scheduler_repo.entities.lease import Lease
from scheduler_repo.errors import InvalidInput, StaleLeaseError
from scheduler_repo.leadership import LeaseKeeper
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import LeaseHolder
from scheduler_repo.validation import MAX_BATCH_SIZE
from tests.lease.observation import expire
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import GROUP, agent, cluster, session

TTL = timedelta(seconds=60)
IS_FREE = "SELECT expires_at <= clock_timestamp() FROM scheduler_leases WHERE scaling_group = $1"


def drift_of(check: AuditCheck) -> float:
    value = REGISTRY.get_sample_value("scheduler_repo_audit_findings", {"check": check.value})
    assert value is not None
    return value


class TestLeadingLoop:
    @pytest.fixture
    def leases(self, engine: ExtendedAsyncSAEngine) -> LeaseRepository:
        return LeaseRepository(LeaseDBSource(engine))

    def keeper(self, leases: LeaseRepository, holder: str) -> LeaseKeeper:
        return LeaseKeeper(leases, GROUP, LeaseHolder(holder), TTL)

    def loop(self, engine: ExtendedAsyncSAEngine, keeper: LeaseKeeper) -> SchedulerLoop:
        repository = SchedulerRepository(SchedulerDBSource(engine))
        return SchedulerLoop(repository, BestFitPlanner(), GROUP, lease_keeper=keeper)

    async def test_a_lease_is_kept_and_given_back(
        self,
        load: Load,
        leases: LeaseRepository,
        owner_connection: DriverConnection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # given a lease that is renewed long before its end
        monkeypatch.setattr(leadership, "_RENEWALS_PER_TTL", 300)
        await load(cluster([agent("a1")], []))
        renewals: asyncio.Queue[Lease] = asyncio.Queue()
        renew_lease = leases.renew_lease

        async def watched(lease: Lease, ttl: timedelta) -> Lease:
            renewed = await renew_lease(lease, ttl)
            renewals.put_nowait(renewed)
            return renewed

        monkeypatch.setattr(leases, "renew_lease", watched)
        # when
        async with self.keeper(leases, "one") as keeper:
            first = keeper.lease
            await renewals.get()
            renewed = await renewals.get()
            # then it is renewed before its end, and is the same
            assert renewed.epoch == first.epoch
            assert renewed.expires_at > keeper.lease.acquired_at + TTL
            assert not await owner_connection.fetchval(IS_FREE, GROUP)
        # and free after the block
        assert await owner_connection.fetchval(IS_FREE, GROUP)
        with pytest.raises(InvalidInput, match="async with"):
            _ = keeper.lease

    async def test_who_waits_leads_next_and_the_former_writes_nothing(
        self,
        load: Load,
        engine: ExtendedAsyncSAEngine,
        leases: LeaseRepository,
        owner_connection: DriverConnection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # given a leader whose renewals fail, as if it had been stopped
        await load(cluster([agent("a1")], [session(1, 1), session(2, 1)]))
        async with self.keeper(leases, "one") as former:

            async def never(*_: object) -> None:
                raise StaleLeaseError("stopped")

            with monkeypatch.context() as patch:
                patch.setattr(leases, "renew_lease", never)
                # when its time is over, and another takes it
                await expire(owner_connection)
                async with self.keeper(LeaseRepository(leases._db_source), "two") as present:
                    # then it leads, and the former's tick is refused
                    assert present.lease.epoch == former.lease.epoch + 1
                    with pytest.raises(StaleLeaseError, match="epoch 2 of two"):
                        await self.loop(engine, former).tick()
                    assert await owner_connection.fetchval("SELECT count(*) FROM operations") == 1  # the load
                    tick = await self.loop(engine, present).tick()
                    assert len(tick.allocated) == 2
            # and when the other has gone, it may lead again
            await former.reacquire()
            assert (await self.loop(engine, former).tick()).rejected == ()


class TestAuditingLoop:
    async def test_drift_is_a_metric(
        self, load: Load, engine: ExtendedAsyncSAEngine, owner_connection: DriverConnection
    ) -> None:
        # given a loop that audits at every second tick
        await load(cluster([agent("a1")], [session(1, 1)]))
        repository = SchedulerRepository(SchedulerDBSource(engine))
        audit = AuditRepository(AuditDBSource(engine))
        loop = SchedulerLoop(repository, BestFitPlanner(), GROUP, audit=audit, audit_every=2)
        # when nothing has drifted
        ticks = [await loop.tick() for _ in range(2)]
        # then
        assert [tick.audit is None for tick in ticks] == [True, False]
        assert drift_of(AuditCheck.AGENT_CONTAINER_COUNTS) == 0
        # when a counter has
        await owner_connection.execute("UPDATE agents SET container_count = 0")
        ticks = [await loop.tick() for _ in range(2)]
        # then
        assert drift_of(AuditCheck.AGENT_CONTAINER_COUNTS) == 1
        assert drift_of(AuditCheck.AGENT_SLOTS_OCCUPIED) == 0
        assert ticks[1].audit is not None
        assert len(ticks[1].audit.findings) == 1
        # and an audit every 0 ticks is refused
        with pytest.raises(InvalidInput, match="audit_every is 0, it must be a whole number from 1"):
            SchedulerLoop(repository, BestFitPlanner(), GROUP, audit=audit, audit_every=0)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FullLog(SchedulerRepository):
    """A repository of whose logs so many rows go in each trim, one after the other."""

    def __init__(self, db_source: SchedulerDBSource, trims: Sequence[Optional[int]]) -> None:
        super().__init__(db_source)
        self.left = list(trims)

    async def trim_changes(
        self, kept_for: timedelta = KEPT_FOR, batch_size: int = MAX_BATCH_SIZE
    ) -> Optional[int]:
        return self.left.pop(0)


class TestTrimmingLoop:
    async def test_trims_until_nothing_old_is_left(
        self, load: Load, engine: ExtendedAsyncSAEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However much is written in a minute, the logs do not grow without end."""
        # given
        clock = Clock()
        monkeypatch.setattr("scheduler_repo.loop.scheduler_loop.monotonic", clock)
        await load(cluster([agent("a1")], []))
        repository = FullLog(SchedulerDBSource(engine), [2 * MAX_BATCH_SIZE, MAX_BATCH_SIZE, 7, None, 0])
        loop = SchedulerLoop(repository, BestFitPlanner(), GROUP)
        # when
        left = []
        for clock.now in (0, 1, 2, 3, 61, 62, 122):
            await loop.tick()
            left.append(len(repository.left))
        # then
        assert left == [4, 3, 2, 2, 2, 1, 0]
