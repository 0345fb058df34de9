"""A leader that is stopped past its lease, as by the hypervisor or a debugger, writes nothing when it wakes."""

import asyncio

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.lease import Lease
from scheduler_repo.errors import DatabaseTimeout, LeaseHeld
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from tests.lease.holders import AGENT, BOB, TTL
from tests.lease.leader import HOLDER
from tests.lease.observation import all_rows, expire
from tests.support.databases import ADMIN, SCHEDULER, Database, DriverConnection
from tests.support.program import running
from tests.support.small_cluster import GROUP, held_on, ledger_of, place, session_id, status_of
from tests.support.waiting import PATIENCE
from tests.support.wire_proxy import Point, Side, proxied

# While it is stopped the server ends its transaction soon; elsewhere it is never stopped for so long.
SOON = "1"
LATE = "120"
SCHEDULED = ("SCHEDULED", {"SCHEDULED"})
PENDING = ("PENDING", {"PENDING"})


async def take_over(leases: LeaseRepository, owner: DriverConnection) -> Lease:
    """Ask for the lease until it is had."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await leases.acquire_lease(GROUP, BOB, TTL)
            except (LeaseHeld, DatabaseTimeout):
                await owner.execute("SELECT pg_sleep(0.02)")


@pytest.mark.slow
class TestStoppedLeader:
    async def test_outside_a_transaction(
        self,
        database: Database,
        engine: ExtendedAsyncSAEngine,
        leases: LeaseRepository,
        owner_connection: DriverConnection,
    ) -> None:
        async with running("tests.lease.leader", database.url_as(SCHEDULER), AGENT, LATE) as leader:
            # given
            assert await leader.says() == "epoch 1"
            assert await leader.ask(0) == "allocated"
            # when
            await leader.stop()
            with pytest.raises(LeaseHeld, match=HOLDER):
                await leases.acquire_lease(GROUP, BOB, TTL)
            await expire(owner_connection)
            lease = await leases.acquire_lease(GROUP, BOB, TTL)
            result = await SchedulerRepository(SchedulerDBSource(engine)).allocate_sessions(
                GROUP, [place(1, AGENT)], lease=lease
            )
            before = await all_rows(owner_connection)
            leader.tell(2)
            leader.wake()
            # then
            assert await leader.says() == "StaleLeaseError"
            assert await leader.ask(3) == "StaleLeaseError"
        assert lease.epoch == 2
        assert result.allocated == (session_id(1),)
        assert await all_rows(owner_connection) == before
        assert [await status_of(owner_connection, number) for number in range(4)] == [
            SCHEDULED,
            SCHEDULED,
            PENDING,
            PENDING,
        ]

    @pytest.mark.parametrize(
        "statement",
        ["INSERT INTO operations", "FOR SHARE", "FOR NO KEY UPDATE", "UPDATE sessions AS s", "SET result = $2"],
        ids=["operation claimed", "lease checked", "sessions locked", "sessions written", "all but COMMIT"],
    )
    async def test_inside_its_transaction(
        self,
        database: Database,
        engine: ExtendedAsyncSAEngine,
        leases: LeaseRepository,
        owner_connection: DriverConnection,
        statement: str,
    ) -> None:
        """The server ends its transaction, else it would keep the lease's row locked.

        The leader finds the connection gone and asks again; by then the lease is another's.
        """
        async with (
            proxied(database.url_as(SCHEDULER)) as proxy,
            running("tests.lease.leader", proxy.url, AGENT, SOON) as leader,
        ):
            # given a leader that is stopped with the answer to this statement on its way
            assert await leader.says() == "epoch 1"
            assert await leader.ask(0) == "allocated"
            hold = proxy.hold(Point.FETCH, Side.ANSWER, mark=statement)
            saying = asyncio.create_task(leader.ask(2))
            await hold.reached(saying)
            assert not saying.done()
            await leader.stop()
            hold.release()
            await expire(owner_connection)
            # when another takes over, and places the very session that the leader has locked
            lease = await take_over(leases, owner_connection)
            result = await SchedulerRepository(SchedulerDBSource(engine)).allocate_sessions(
                GROUP, [place(1, AGENT), place(2, AGENT)], lease=lease
            )
            before = await all_rows(owner_connection)
            leader.wake()
            # then
            assert await saying == "StaleLeaseError"
            assert await leader.ask(2) == "StaleLeaseError"
            assert await leader.ask(3) == "StaleLeaseError"
        assert lease.epoch == 2
        assert result.allocated == (session_id(1), session_id(2))
        assert await all_rows(owner_connection) == before
        assert await ledger_of(owner_connection, AGENT) == await held_on(owner_connection, AGENT)

    async def test_after_its_commit(
        self, database: Database, leases: LeaseRepository, owner_connection: DriverConnection
    ) -> None:
        """What it wrote while it had the lease stands, and it is told so when it wakes."""
        async with (
            proxied(database.url_as(SCHEDULER)) as proxy,
            running("tests.lease.leader", proxy.url, AGENT, LATE) as leader,
        ):
            # given
            assert await leader.says() == "epoch 1"
            hold = proxy.hold(Point.COMMIT, Side.ANSWER)
            saying = asyncio.create_task(leader.ask(0))
            await hold.reached(saying)
            await leader.stop()
            hold.release()
            await expire(owner_connection)
            # when
            await take_over(leases, owner_connection)
            leader.wake()
            # then
            assert await saying == "allocated"
            assert await leader.ask(1) == "StaleLeaseError"
        assert [await status_of(owner_connection, number) for number in range(2)] == [SCHEDULED, PENDING]

    async def test_locked_lease_is_not_had_sooner(
        self,
        database: Database,
        leases: LeaseRepository,
        owner_connection: DriverConnection,
    ) -> None:
        """Expired or not, it is not taken over while a write under it is open."""
        async with (
            proxied(database.url_as(SCHEDULER)) as proxy,
            database.driver_as(ADMIN) as observer,
            database.driver_as(ADMIN) as watcher,
            running("tests.lease.leader", proxy.url, AGENT, LATE) as leader,
        ):
            # given
            assert await leader.says() == "epoch 1"
            hold = proxy.hold(Point.FETCH, Side.ANSWER, mark="FOR SHARE")
            saying = asyncio.create_task(leader.ask(0))
            await hold.reached(saying)
            # when its time passes, and another waits for it
            expiring = asyncio.create_task(expire(owner_connection))
            taking_over = asyncio.create_task(take_over(leases, observer))
            waiting = (
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND query LIKE '%scheduler_leases%'"
                " AND datname = current_database()"
            )
            async with asyncio.timeout(PATIENCE):
                while await watcher.fetchval(waiting) < 2:
                    await watcher.execute("SELECT pg_sleep(0.01)")
            hold.release()
            # then the write goes first
            assert await saying == "allocated"
            await expiring
            assert (await taking_over).epoch == 2
