"""A lease is one holder's at a time, and every change of hands has a higher epoch."""

import asyncio
import re
import time
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Optional

import pytest

from scheduler_repo.database.engine import create_engine
from scheduler_repo.entities.lease import Lease
from scheduler_repo.errors import InvalidInput, LeaseHeld, OutcomeUnknown, ScalingGroupNotFound, StaleLeaseError
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import LeaseHolder, ScalingGroupName
from tests.lease.holders import ADA, AGENT, BOB, IDLE_SECONDS, TTL
from tests.lease.observation import expire
from tests.support.databases import SCHEDULER, Database, DriverConnection
from tests.support.small_cluster import GROUP, OTHER_GROUP, place, session_id, status_of
from tests.support.wire_proxy import Point, Side, proxied

A_DAY: Final = timedelta(days=1)
IDLE: Final = timedelta(seconds=IDLE_SECONDS)


async def database_time(connection: DriverConnection) -> datetime:
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return now


async def lease_row(connection: DriverConnection) -> Lease:
    row = await connection.fetchrow("SELECT * FROM scheduler_leases WHERE scaling_group = $1", GROUP)
    assert row is not None
    return Lease(*row)


class TestAcquire:
    async def test_the_first(self, leases: LeaseRepository, owner_connection: DriverConnection) -> None:
        before = await database_time(owner_connection)
        lease = await leases.acquire_lease(GROUP, ADA, TTL)

        assert (lease.scaling_group, lease.holder, lease.epoch) == (GROUP, ADA, 1)
        after = await database_time(owner_connection)
        assert before < lease.acquired_at < after
        assert lease.acquired_at + TTL <= lease.expires_at < after + TTL
        assert await lease_row(owner_connection) == lease

    async def test_held_by_another(self, leases: LeaseRepository, owner_connection: DriverConnection) -> None:
        # given
        lease = await leases.acquire_lease(GROUP, ADA, TTL)
        # when
        with pytest.raises(LeaseHeld) as held:
            await leases.acquire_lease(GROUP, BOB, TTL)
        # then
        for part in (f"held by {ADA}", "epoch 1", lease.expires_at.isoformat()):
            assert part in str(held.value)
        assert await lease_row(owner_connection) == lease

    async def test_each_group_has_its_own(self, leases: LeaseRepository) -> None:
        await leases.acquire_lease(GROUP, ADA, TTL)

        assert (await leases.acquire_lease(OTHER_GROUP, BOB, TTL)).epoch == 1

    async def test_expired_is_taken_over(
        self, leases: LeaseRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        former = await leases.acquire_lease(GROUP, ADA, TTL)
        await expire(owner_connection)
        # when
        lease = await leases.acquire_lease(GROUP, BOB, TTL)
        # then
        assert (lease.holder, lease.epoch) == (BOB, 2)
        for stale in (leases.renew_lease(former, TTL), leases.release_lease(former)):
            with pytest.raises(StaleLeaseError, match=f"now epoch 2 of {BOB}, held until"):
                await stale
        assert await lease_row(owner_connection) == lease

    async def test_the_same_holder_at_once(
        self, leases: LeaseRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        former = await leases.acquire_lease(GROUP, ADA, TTL)
        # when
        lease = await leases.acquire_lease(GROUP, ADA, TTL)
        # then what it was before a restart is fenced
        assert lease.epoch == 2
        with pytest.raises(StaleLeaseError, match="epoch 1 of ada, does not hold"):
            await leases.renew_lease(former, TTL)
        assert await lease_row(owner_connection) == lease

    async def test_many_at_once(self, leases: LeaseRepository) -> None:
        outcomes = await asyncio.gather(
            *(leases.acquire_lease(GROUP, LeaseHolder(f"holder-{number}"), TTL) for number in range(8)),
            return_exceptions=True,
        )

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Lease"] + ["LeaseHeld"] * 7

    async def test_no_such_group(self, leases: LeaseRepository) -> None:
        with pytest.raises(ScalingGroupNotFound, match="nowhere"):
            await leases.acquire_lease(ScalingGroupName("nowhere"), ADA, TTL)


class TestRefused:
    @pytest.mark.parametrize(
        "ttl",
        [IDLE, IDLE - timedelta(milliseconds=1), timedelta(0), -TTL, A_DAY * 2, 60, None],
        ids=str,
    )
    async def test_time_to_live(
        self, leases: LeaseRepository, owner_connection: DriverConnection, ttl: object
    ) -> None:
        """Not above idle_in_transaction_timeout, in which a stopped holder can delay the take-over."""
        lease = await leases.acquire_lease(GROUP, ADA, TTL)
        for refused in (
            leases.acquire_lease(GROUP, ADA, ttl),  # type: ignore[arg-type]
            leases.renew_lease(lease, ttl),  # type: ignore[arg-type]
        ):
            with pytest.raises(InvalidInput, match=re.escape(f"ttl is {ttl}, it must be a timedelta above")):
                await refused
        assert await lease_row(owner_connection) == lease

    async def test_just_above_the_bound(self, leases: LeaseRepository) -> None:
        lease = await leases.acquire_lease(GROUP, ADA, IDLE + timedelta(microseconds=1))

        assert lease.epoch == 1

    @pytest.mark.parametrize("holder", ["", None, 7])
    async def test_holder(self, leases: LeaseRepository, holder: object) -> None:
        with pytest.raises(InvalidInput, match="holder"):
            await leases.acquire_lease(GROUP, holder, TTL)  # type: ignore[arg-type]

    async def test_lease_of_another_group(
        self, leases: LeaseRepository, owner_connection: DriverConnection, database: Database
    ) -> None:
        # given
        engine = create_engine(DatabaseSettings(url=SecretUrl(database.url_as(SCHEDULER))))
        lease = await leases.acquire_lease(OTHER_GROUP, ADA, TTL)
        # when
        with pytest.raises(InvalidInput, match="lease is of scaling group other, the write of gpu"):
            await SchedulerRepository(SchedulerDBSource(engine)).allocate_sessions(
                GROUP, [place(0, AGENT)], lease=lease
            )
        with pytest.raises(InvalidInput, match="lease is of scaling group other, the write of gpu"):
            await LifecycleRepository(LifecycleDBSource(engine)).sweep_pending_sessions(GROUP, 1, lease=lease)
        # then
        assert await status_of(owner_connection, 0) == ("PENDING", {"PENDING"})
        await engine.dispose()

    @pytest.mark.parametrize("given", [None, "one", (GROUP, ADA, 1)], ids=repr)
    async def test_what_is_no_lease(self, leases: LeaseRepository, given: Lease) -> None:
        for refused in (leases.renew_lease(given, TTL), leases.release_lease(given)):
            with pytest.raises(InvalidInput, match=r"lease is .*it must be a Lease"):
                await refused


class TestRenew:
    async def test_extends_from_now(self, leases: LeaseRepository, owner_connection: DriverConnection) -> None:
        # given
        lease = await leases.acquire_lease(GROUP, ADA, TTL)
        before = await database_time(owner_connection)
        # when
        renewed = await leases.renew_lease(lease, TTL * 2)
        # then
        assert (renewed.epoch, renewed.acquired_at) == (lease.epoch, lease.acquired_at)
        assert before + TTL * 2 < renewed.expires_at < await database_time(owner_connection) + TTL * 2
        assert await lease_row(owner_connection) == renewed

    async def test_a_shorter_time_ends_it_sooner(self, leases: LeaseRepository) -> None:
        lease = await leases.acquire_lease(GROUP, ADA, TTL)

        assert (await leases.renew_lease(lease, TTL / 2)).expires_at < lease.expires_at

    async def test_expired_though_nobody_took_over(
        self, leases: LeaseRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        lease = await leases.acquire_lease(GROUP, ADA, TTL)
        await expire(owner_connection)
        # when
        with pytest.raises(StaleLeaseError, match="now epoch 1 of ada, expired at"):
            await leases.renew_lease(lease, TTL)
        # then
        assert (await leases.acquire_lease(GROUP, ADA, TTL)).epoch == 2

    async def test_never_had(self, leases: LeaseRepository) -> None:
        now = datetime.now().astimezone()

        with pytest.raises(StaleLeaseError, match="there is none"):
            await leases.renew_lease(Lease(GROUP, ADA, 1, now, now + TTL), TTL)


class TestRelease:
    async def test_another_need_not_wait(self, leases: LeaseRepository) -> None:
        # given
        await leases.acquire_lease(GROUP, ADA, TTL)
        lease = await leases.acquire_lease(GROUP, ADA, TTL)
        # when
        await leases.release_lease(lease)
        # then the epochs go on
        assert (await leases.acquire_lease(GROUP, BOB, TTL)).epoch == 3

    async def test_once(self, leases: LeaseRepository) -> None:
        lease = await leases.acquire_lease(GROUP, ADA, TTL)
        await leases.release_lease(lease)

        for stale in (leases.release_lease(lease), leases.renew_lease(lease, TTL)):
            with pytest.raises(StaleLeaseError, match="expired at"):
                await stale


class TestClock:
    @pytest.fixture(params=[A_DAY, -A_DAY, None], ids=["a day ahead", "a day behind", "true"])
    def moved_clock(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """This process's clock, away from the database's."""
        moved: Optional[timedelta] = request.param
        if moved is not None:
            true_time, seconds = time.time, moved.total_seconds()
            monkeypatch.setattr(time, "time", lambda: true_time() + seconds)
            monkeypatch.setattr(time, "time_ns", lambda: int((true_time() + seconds) * 1e9))

    @pytest.mark.usefixtures("moved_clock")
    async def test_the_database_has_the_only_one(
        self, leases: LeaseRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        before = await database_time(owner_connection)
        lease = await leases.acquire_lease(GROUP, ADA, TTL)
        # then it holds for so long from the database's now
        assert before + TTL < lease.expires_at < await database_time(owner_connection) + TTL
        with pytest.raises(LeaseHeld):
            await leases.acquire_lease(GROUP, BOB, TTL)
        renewed = await leases.renew_lease(lease, TTL)
        # and ends by the database's clock
        await expire(owner_connection)
        with pytest.raises(StaleLeaseError):
            await leases.renew_lease(renewed, TTL)
        assert (await leases.acquire_lease(GROUP, BOB, TTL)).epoch == 2

    @pytest.mark.usefixtures("moved_clock")
    async def test_what_the_lease_says_of_its_time_is_not_believed(
        self, leases: LeaseRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        lease = await leases.acquire_lease(GROUP, ADA, TTL)
        wishful = Lease(GROUP, ADA, lease.epoch, lease.acquired_at, lease.expires_at + A_DAY)
        await expire(owner_connection)
        # then
        with pytest.raises(StaleLeaseError):
            await leases.release_lease(wishful)


class TestLostCommit:
    """A lease needs no operation id: asking again does no harm, so that is done."""

    @pytest.mark.parametrize("side", Side)
    async def test_asked_again(
        self, database: Database, owner_connection: DriverConnection, side: Side
    ) -> None:
        async with proxied(database.url_as(SCHEDULER)) as proxy:
            engine = create_engine(DatabaseSettings(url=SecretUrl(proxy.url)))
            leases = LeaseRepository(LeaseDBSource(engine))

            async def lost(call: "asyncio.Task[Lease]") -> Lease:
                hold = proxy.hold(Point.COMMIT, side)
                await hold.reached(call)
                hold.drop()
                return await call

            # when
            lease = await lost(asyncio.ensure_future(leases.acquire_lease(GROUP, ADA, TTL)))
            # then
            assert lease.epoch == (2 if side is Side.ANSWER else 1)
            assert lease == await lease_row(owner_connection)
            # when
            renewed = await lost(asyncio.ensure_future(leases.renew_lease(lease, TTL * 2)))
            # then
            assert renewed == await lease_row(owner_connection)
            assert renewed.expires_at > lease.expires_at
            await engine.dispose()

    @pytest.mark.usefixtures("no_retry_waits")
    @pytest.mark.parametrize("side", Side)
    async def test_server_that_cannot_be_asked(
        self, database: Database, leases: LeaseRepository, owner_connection: DriverConnection, side: Side
    ) -> None:
        """That later tries cannot connect does not mean that the first was not written."""
        async with proxied(database.url_as(SCHEDULER)) as proxy:
            engine = create_engine(DatabaseSettings(url=SecretUrl(proxy.url)))
            by_proxy = LeaseRepository(LeaseDBSource(engine))
            lease = await leases.acquire_lease(GROUP, ADA, TTL)
            asks = {
                "renew it again": partial(by_proxy.renew_lease, lease, TTL * 2),
                "acquire it again": partial(by_proxy.acquire_lease, GROUP, ADA, TTL),
            }
            for advice, ask in asks.items():
                # given
                proxy.refuses = False
                call = asyncio.ensure_future(ask())
                hold = proxy.hold(Point.COMMIT, side)
                await hold.reached(call)
                proxy.refuses = True
                # when
                hold.drop()
                # then
                with pytest.raises(OutcomeUnknown, match=advice):
                    await call
            found = await lease_row(owner_connection)
            assert (found.epoch, found.expires_at > lease.expires_at) == (
                (2, True) if side is Side.ANSWER else (1, False)
            )
            await engine.dispose()

    async def test_session_of_another_group_is_rejected(
        self, leases: LeaseRepository, database: Database
    ) -> None:
        # given
        engine = create_engine(DatabaseSettings(url=SecretUrl(database.url_as(SCHEDULER))))
        lease = await leases.acquire_lease(OTHER_GROUP, ADA, TTL)
        # when
        result = await LifecycleRepository(LifecycleDBSource(engine)).mark_preparing(
            [session_id(0)], lease=lease
        )
        # then
        assert [each.code for each in result.rejected] == ["OTHER_GROUP"]
        await engine.dispose()
