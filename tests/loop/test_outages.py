"""The database, Redis or the lease goes and comes back: the loop does too, by itself, and says so once."""

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Optional

import msgspec
import pytest

from scheduler_repo import leadership
from scheduler_repo.connection import Repositories, open_repositories
from scheduler_repo.database.schema.upgrade import upgrade_schema
from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedValkey
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.errors import StaleLeaseError
from scheduler_repo.leadership import LeaseKeeper
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.loop.state import LoopPhase
from scheduler_repo.loop.sweeping import Sweeper
from scheduler_repo.loop.sweeps import Sweeps
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.planner.protocol import Planner
from scheduler_repo.types import LeaseHolder
from tests.lease.observation import expire
from tests.loop.running import SETTINGS, Running, Telling, running
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection
from tests.support.own_server import own_database
from tests.support.small_cluster import GROUP, agent, cluster, session, session_id
from tests.support.waiting import until

ADA = LeaseHolder("ada")
BOB = LeaseHolder("bob")
TTL = timedelta(seconds=60)
FAILURES = 5


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged as information, and above."""
    caplog.set_level(logging.INFO, "scheduler_repo")
    return caplog


def said(log: pytest.LogCaptureFixture, words: str) -> int:
    """How many lines say this."""
    return sum(words in record.getMessage() for record in log.records)


async def place(repos: Repositories, run: Running, number: int) -> None:
    """Add a session, and wait until it is placed."""
    await repos.sessions.enqueue_sessions([session(number, 1)])
    while session_id(number) not in (await run.next_tick()).allocated:
        pass


class Reluctant:
    """Places nothing until it may."""

    may_place = False

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        """Plan well, or nothing."""
        return BestFitPlanner().plan(data) if self.may_place else ()


def make_loop(
    repos: Repositories,
    holder: LeaseHolder = ADA,
    ttl: timedelta = TTL,
    planner: Optional[Planner] = None,
) -> SchedulerLoop:
    keeper = LeaseKeeper(repos.leases, GROUP, holder, ttl)
    return SchedulerLoop(repos.scheduler, planner or BestFitPlanner(), GROUP, lease_keeper=keeper)


class TestLease:
    @pytest.fixture
    async def repos(self, migrated_database: Database) -> AsyncIterator[Repositories]:
        async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:
            await repos.cluster.load_cluster(cluster([agent("a1")], []))
            yield repos

    async def test_one_leads_and_the_other_waits_and_takes_over(
        self, repos: Repositories, log: pytest.LogCaptureFixture
    ) -> None:
        first, second = Telling(), Telling()
        waiting = make_loop(repos, BOB, timedelta(seconds=11))
        async with running(repos, make_loop(repos), dispatcher=first) as leader:
            await place(repos, leader, 1)
            await first.next_call()
            async with running(repos, waiting, dispatcher=second) as run:
                await until(lambda: waiting.state.phase is LoopPhase.WAITING)
                assert waiting.state.is_ready
                # when the leader is stopped, then it gives the lease back, and the other leads
                leader.stop.set()
                await leader.end()
                await place(repos, run, 2)
                assert [each.session_id for each in await second.next_call()] == [session_id(2)]
        assert first.told.keys() == {session_id(1)}
        assert said(log, "is led by another process") == 1
        # and nobody holds it afterwards
        assert (await repos.leases.acquire_lease(GROUP, LeaseHolder("cleo"), TTL)).epoch == 3

    async def test_one_that_is_lost_is_acquired_again(
        self, repos: Repositories, owner_connection: DriverConnection
    ) -> None:
        async with running(repos, make_loop(repos)) as run:
            await run.next_tick()
            await expire(owner_connection)
            await place(repos, run, 1)
        assert (await repos.leases.acquire_lease(GROUP, BOB, TTL)).epoch == 3

    async def test_another_process_of_the_same_name_ends_the_former(self, repos: Repositories) -> None:
        # given a latter that leaves all that waits to the former
        reluctant = Reluctant()
        async with running(repos, make_loop(repos)) as former:
            await former.next_tick()
            async with running(repos, make_loop(repos, planner=reluctant)) as latter:
                await latter.next_tick()
                # when the former writes
                await repos.sessions.enqueue_sessions([session(1, 1)])
                with pytest.raises(StaleLeaseError, match=r"holder's name, 'ada'.*; give each process a name"):
                    await former.end()
                # then the latter leads, and is not troubled
                reluctant.may_place = True
                await place(repos, latter, 2)
                assert latter.loop.state.is_ready

    async def test_an_idle_one_hears_of_it_by_a_renewal(
        self, repos: Repositories, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(leadership, "_RENEWALS_PER_TTL", 3_000)
        async with running(repos, make_loop(repos)) as former:
            await former.next_tick()
            async with running(repos, make_loop(repos)):
                with pytest.raises(StaleLeaseError, match="was taken by another process"):
                    await former.end()


class TestSchema:
    async def test_changed_beneath_it(
        self,
        migrated_database: Database,
        owner_connection: DriverConnection,
        log: pytest.LogCaptureFixture,
    ) -> None:
        async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:
            await repos.cluster.load_cluster(cluster([agent("a1")], []))
            telling = Telling()
            async with running(repos, make_loop(repos), dispatcher=telling) as run:
                await place(repos, run, 1)
                for number, table in enumerate(("sessions", "kernels", "agents", "agent_slots"), start=2):
                    await owner_connection.execute(f"ALTER TABLE {table} ADD COLUMN newer int")
                    await place(repos, run, number)
                await until(lambda: len(telling.told) == number)
                async with migrated_database.connect_as(OWNER) as connection:
                    await upgrade_schema(connection)
                for table in ("sessions", "kernels", "agents", "agent_slots"):
                    await owner_connection.execute(f"ALTER TABLE {table} DROP COLUMN newer")
                await place(repos, run, 9)
                await until(lambda: session_id(9) in telling.told)
                assert run.loop.state.is_ready
        assert said(log, "failed, and goes on being tried") <= 1


@pytest.mark.slow
class TestServers:
    @pytest.fixture
    async def own(self) -> AsyncIterator[tuple[EmbeddedPostgres, Database]]:
        async with own_database({}) as own:
            yield own

    @pytest.fixture
    def valkey(self) -> Iterator[EmbeddedValkey]:
        with EmbeddedValkey() as server:
            yield server

    async def test_the_database_goes_and_comes_back(
        self, own: tuple[EmbeddedPostgres, Database], log: pytest.LogCaptureFixture
    ) -> None:
        server, database = own
        sweeps = Sweeps(
            recovery_every=0.01,
            pending_every=0.01,
            fold_every=0.01,
            trim_every=0.01,
            audit_every=0.01,
            compare_every=0.01,
        )
        async with open_repositories(
            database.url_as(SCHEDULER), pool_timeout=1.0, idle_in_transaction_timeout=0.5
        ) as repos:
            await repos.cluster.load_cluster(cluster([agent("a1"), agent("b1")], []))
            telling = Telling()
            sweeper = Sweeper(
                repos.scheduler,
                agents=repos.agents,
                lifecycle=repos.lifecycle,
                audit=repos.audit,
                sweeps=sweeps,
            )
            loop = make_loop(repos, ttl=timedelta(seconds=1))
            settings = msgspec.structs.replace(SETTINGS, interval=0.02)
            async with running(repos, loop, settings=settings, sweeper=sweeper, dispatcher=telling) as run:
                await place(repos, run, 1)
                for number in (2, 3):
                    log.clear()
                    # when it is gone, for longer than the lease
                    server.stop("immediate")
                    await until(lambda: loop.state.consecutive_errors >= FAILURES)
                    assert loop.state.phase is LoopPhase.BACKING_OFF
                    assert not loop.state.is_ready
                    server.start()
                    # then the loop goes on when it is back
                    await repos.sessions.enqueue_sessions([session(number, 1)])
                    await until(lambda: session_id(number) in telling.told)  # noqa: B023 - it is awaited here
                    await until(lambda: loop.state.is_ready)
                    # and both are said once
                    assert said(log, "the scheduling of scaling group 'gpu' failed, and goes on") == 1
                    assert said(log, "the scheduling of scaling group 'gpu' succeeded again") == 1
                    # and so is what else the loop does, if at all
                    warnings = [each.getMessage() for each in log.records if each.levelno >= logging.WARNING]
                    assert len(warnings) == len(set(warnings)) <= 4
            assert await repos.lifecycle.list_undispatched_sessions(GROUP) == ()

    async def test_redis_goes_and_comes_back(
        self, migrated_database: Database, valkey: EmbeddedValkey, log: pytest.LogCaptureFixture
    ) -> None:
        async with open_repositories(migrated_database.url_as(SCHEDULER), valkey.url) as repos:
            await repos.cluster.load_cluster(cluster([agent("a1")], []))
            loop = make_loop(repos)
            settings = msgspec.structs.replace(SETTINGS, interval=0.02)
            async with running(repos, loop, settings=settings) as run:
                await place(repos, run, 1)
                for number in (2, 3):
                    log.clear()
                    valkey.stop("immediate")
                    await place(repos, run, number)
                    for _ in range(20):
                        await run.next_tick()
                    valkey.start()
                    for _ in range(20):
                        await run.next_tick()
                    assert loop.state.is_ready
                    assert len([each for each in log.records if each.levelno >= logging.WARNING]) <= 1
