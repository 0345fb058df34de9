"""Schedulers that end under load, killed or stopped: another goes on, nothing is lost or done twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from random import Random
from statistics import median
from typing import Final, Optional

import pytest

from scheduler_repo.connection import Repositories, open_repositories
from tests.support.databases import SCHEDULER, Database, DriverConnection
from tests.support.program import Program, running
from tests.support.small_cluster import GROUP, agent, cluster, held_on, ledger_of, session, session_id
from tests.support.waiting import PATIENCE, until

AGENTS: Final = ("a1", "a2", "a3")
TTL: Final = 2.0
KILLS: Final = 5
STOPS: Final = 50
PROGRAM: Final = "tests.loop.program"

_LEASE: Final = "SELECT epoch, acquired_at FROM scheduler_leases WHERE scaling_group = $1"
_IS_FREE: Final = "SELECT expires_at <= clock_timestamp() FROM scheduler_leases WHERE scaling_group = $1"
_WAITING: Final = "SELECT count(*) FROM sessions WHERE status = 'PENDING' OR dispatched_at IS NULL"
_CONNECTIONS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"
)
# A session and its kernels have one status, and one change of status for each that it has had.
_HALF_WRITTEN: Final = """
SELECT s.id, s.status, array_agg(DISTINCT k.status) AS kernels,
       (SELECT array_agg(h.to_status ORDER BY h.id) FROM session_history h
        WHERE h.session_id = s.id AND h.kernel_id IS NULL) AS history
FROM sessions s JOIN kernels k ON k.session_id = s.id
GROUP BY s.id
HAVING array_agg(DISTINCT k.status::text) <> ARRAY[s.status::text]
    OR (SELECT array_agg(h.to_status::text ORDER BY h.id) FROM session_history h
        WHERE h.session_id = s.id AND h.kernel_id IS NULL)
       <> CASE s.status::text WHEN 'PENDING' THEN ARRAY['PENDING'] ELSE ARRAY['PENDING', 'SCHEDULED'] END
"""


class Load:
    """Sessions of two kernels that come all the time."""

    def __init__(self, repos: Repositories) -> None:
        self._repos = repos
        self._ends = False
        self._adding = asyncio.create_task(self._add())
        self.numbers: list[int] = []

    async def end(self) -> None:
        """Add no more."""
        self._ends = True
        await self._adding

    async def _add(self) -> None:
        number = 0
        while not self._ends:
            numbers = range(number, number + 3)
            await self._repos.sessions.enqueue_sessions([session(each, 1, 1) for each in numbers])
            self.numbers.extend(numbers)
            number += 3
            await asyncio.sleep(0.02)


@pytest.fixture
async def load(migrated_database: Database) -> AsyncIterator[Load]:
    """The load of a cluster with room for all of it."""
    async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:
        agents = [agent(name, cpu=1_000_000, mem=1_000_000) for name in AGENTS]
        await repos.cluster.load_cluster(cluster(agents, []))
        load = Load(repos)
        yield load
        await load.end()


class Schedulers:
    """Processes that schedule one group, and what all of them have said."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.told: Counter[tuple[str, str]] = Counter()
        self.leader: Optional[Program] = None

    @asynccontextmanager
    async def started(self, holder: str) -> AsyncIterator[Program]:
        """One more, killed at the end at the latest."""
        async with running(PROGRAM, self._url, holder, str(TTL)) as program:
            listening = asyncio.create_task(self._listen(program))
            yield program
            await program.kill()
            await listening

    async def _listen(self, program: Program) -> None:
        while line := await program.says():
            word, *rest = line.split()
            if word == "told":
                told, attempt = rest
                self.told[told, attempt] += 1
            elif word == "leads":
                self.leader = program

    async def under_load(self, program: Program) -> None:
        """Wait until this one leads and has been told of something."""
        self.leader = None
        await until(lambda: self.leader is program)
        told = self.told.total()
        await until(lambda: self.told.total() > told)


async def assert_whole(owner: DriverConnection) -> None:
    """Nothing is half written: no session, no agent's ledger."""
    async with owner.transaction(isolation="repeatable_read", readonly=True):
        assert await owner.fetch(_HALF_WRITTEN) == []
        for name in AGENTS:
            assert await ledger_of(owner, name) == await held_on(owner, name)


async def assert_nothing_forgotten(load: Load, schedulers: Schedulers, owner: DriverConnection) -> None:
    """All sessions are placed once, and told of."""
    async with asyncio.timeout(PATIENCE):
        while await owner.fetchval(_WAITING):
            await owner.execute("SELECT pg_sleep(0.05)")
    await assert_whole(owner)
    assert load.numbers
    assert schedulers.told.keys() == {(str(session_id(number)), "0") for number in load.numbers}


@pytest.mark.slow
class TestKilled:
    async def test_a_leader_is_replaced_within_its_lease_and_a_second(
        self, migrated_database: Database, load: Load, owner_connection: DriverConnection
    ) -> None:
        schedulers = Schedulers(migrated_database.url_as(SCHEDULER))
        replaced_after: list[float] = []
        async with AsyncExitStack() as stack:
            leader = await stack.enter_async_context(schedulers.started("scheduler-0"))
            await schedulers.under_load(leader)
            for number in range(1, KILLS + 1):
                # given another that waits
                waiting = await stack.enter_async_context(schedulers.started(f"scheduler-{number}"))
                await schedulers.under_load(leader)
                (epoch, _) = await owner_connection.fetchrow(_LEASE, GROUP)
                # when the leader is killed
                killed_at: datetime = await owner_connection.fetchval("SELECT clock_timestamp()")
                await leader.kill()
                # then the other leads, soon after the lease has ended
                await schedulers.under_load(waiting)
                (present, acquired_at) = await owner_connection.fetchrow(_LEASE, GROUP)
                assert present == epoch + 1
                replaced_after.append((acquired_at - killed_at).total_seconds())
                leader = waiting
            await load.end()
            await assert_nothing_forgotten(load, schedulers, owner_connection)
        print("replaced after", *(f"{each:.2f}" for each in replaced_after))
        assert median(replaced_after) <= TTL + 1


@pytest.mark.slow
class TestStopped:
    async def test_under_load_again_and_again(
        self, migrated_database: Database, load: Load, owner_connection: DriverConnection
    ) -> None:
        schedulers = Schedulers(migrated_database.url_as(SCHEDULER))
        random = Random(13)  # noqa: S311 - when each is stopped
        for number in range(STOPS):
            holder = f"scheduler-{number}"
            async with schedulers.started(holder) as program:
                await schedulers.under_load(program)
                await asyncio.sleep(random.uniform(0, 0.05))
                # when it is stopped, wherever it is
                program.terminate()
                assert await program.end() == 0
                # then the lease is free, nothing is half written, and no transaction is left
                assert await owner_connection.fetchval(_IS_FREE, GROUP)
                await assert_whole(owner_connection)
                async with asyncio.timeout(PATIENCE):
                    while await owner_connection.fetchval(_CONNECTIONS, holder):
                        await owner_connection.execute("SELECT pg_sleep(0.01)")
        async with schedulers.started("the last") as program:
            await schedulers.under_load(program)
            await load.end()
            await assert_nothing_forgotten(load, schedulers, owner_connection)
