"""Several schedulers want one group's lease at once, for some seconds: no two ever write at the same time."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

import pytest

from scheduler_repo.database import idempotent_write as writing
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.database.statements import Statement
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.lifecycle import SessionRetry
from scheduler_repo.errors import DatabaseTimeout, LeaseHeld, StaleLeaseError
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import LeaseHolder
from tests.support.databases import OWNER, SCHEDULER, Database
from tests.support.own_server import own_database
from tests.support.small_cluster import GROUP, agent, cluster, place, session, session_id

HOLDERS: Final = 4
SECONDS: Final = 5.0
WITHOUT_CURE_SECONDS: Final = 2.5
AT_MOST_SECONDS: Final = 120.0
TTL: Final = timedelta(seconds=0.5)
_STOPPED_SECONDS: Final = 0.4
_LONGEST_STAY: Final = 60
_AGENT: Final = "agent"

# The server's own time of each commit, and which transaction it was.
_COMMITS: Final = """
SELECT DISTINCT xmin::text::bigint AS transaction_id, pg_xact_commit_timestamp(xmin) AS committed_at
FROM session_history WHERE from_status IS NOT NULL
ORDER BY committed_at
"""


class Race:
    """What the holders did: which lease each write was under, and when each epoch began."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.began: dict[int, datetime] = {}
        self.holders: dict[int, LeaseHolder] = {}
        self.epoch_of: dict[int, int] = {}
        self.stale = 0
        self.is_over = asyncio.Event()

    def acquired(self, lease: Lease) -> None:
        """An epoch begins; it must be nobody else's."""
        assert self.holders.setdefault(lease.epoch, lease.holder) == lease.holder
        assert lease.epoch not in self.began
        self.began[lease.epoch] = lease.acquired_at


class Holder:
    """One scheduler, with an engine and two sessions of its own."""

    def __init__(self, number: int, engine: ExtendedAsyncSAEngine, race: Race) -> None:
        """Take its number and what it reports to."""
        self._name = LeaseHolder(f"holder-{number}")
        self._sessions = (2 * number, 2 * number + 1)
        self._is_placed = dict.fromkeys(self._sessions, False)
        self._leases = LeaseRepository(LeaseDBSource(engine))
        self._scheduler = SchedulerRepository(SchedulerDBSource(engine))
        self._lifecycle = LifecycleRepository(LifecycleDBSource(engine))
        self._race = race
        self._random = random.Random(number)  # noqa: S311 - the same each time

    async def run(self) -> None:
        """Acquire, write for a while, then let go in one of several ways, over and over."""
        while not self._race.is_over.is_set():
            try:
                lease = await self._leases.acquire_lease(GROUP, self._name, TTL)
            except (LeaseHeld, DatabaseTimeout):
                await asyncio.sleep(self._random.uniform(0, 0.01))
                continue
            self._race.acquired(lease)
            manner = self._random.choice(("outstay", "outstay", "renew", "release", "forget"))
            for _ in range(_LONGEST_STAY if manner == "outstay" else self._random.randint(1, 6)):
                if self._race.is_over.is_set() or not await self._write_all(lease):
                    break
                if manner == "renew":
                    with contextlib.suppress(StaleLeaseError):
                        lease = await self._leases.renew_lease(lease, TTL)
            if manner == "release":
                with contextlib.suppress(StaleLeaseError):
                    await self._leases.release_lease(lease)

    async def _write_all(self, lease: Lease) -> bool:
        """Write to both sessions at once; return whether the lease held for both."""
        held = await asyncio.gather(*(self._write(number, lease) for number in self._sessions))
        return all(held)

    async def _write(self, number: int, lease: Lease) -> bool:
        try:
            if self._is_placed[number]:
                retry = [SessionRetry(session_id(number))]
                moved = await self._lifecycle.requeue_sessions(retry, lease=lease)
                assert moved.changed
                transaction_id = moved.transaction_id
            else:
                placed = await self._scheduler.allocate_sessions(GROUP, [place(number, _AGENT)], lease=lease)
                assert placed.allocated
                transaction_id = placed.transaction_id
        except StaleLeaseError:
            self._race.stale += 1
            return False
        assert transaction_id is not None
        self._is_placed[number] = not self._is_placed[number]
        self._race.epoch_of[transaction_id] = lease.epoch
        return True


async def run_race(database: Database, seconds: float, is_shown: Callable[[Race], Awaitable[bool]]) -> Race:
    """Let the holders have at it for so long, and on until it is shown what they are to show."""
    race = Race()
    settings = DatabaseSettings(
        url=SecretUrl(database.url_as(SCHEDULER)), pool_size=2, idle_in_transaction_timeout=_STOPPED_SECONDS
    )
    engines = [create_engine(settings) for _ in range(HOLDERS)]
    await ClusterRepository(ClusterDBSource(engines[0])).load_cluster(
        cluster([agent(_AGENT, cpu=100)], [session(number, 1) for number in range(2 * HOLDERS)])
    )
    until = monotonic() + AT_MOST_SECONDS
    async with asyncio.TaskGroup() as group:
        for number, engine in enumerate(engines):
            group.create_task(Holder(number, engine, race).run())
        await asyncio.sleep(seconds)
        while monotonic() < until and not await is_shown(race):  # noqa: ASYNC110 - commits announce nothing
            await asyncio.sleep(seconds / 5)
        race.is_over.set()
    for engine in engines:
        await engine.dispose()
    return race


async def broken_rules(database: Database, race: Race) -> Counter[str]:
    """What the commits themselves say of who wrote when."""
    broken: Counter[str] = Counter()
    async with database.driver_as(OWNER) as owner:
        commits = await owner.fetch(_COMMITS)
    broken["a write that nobody knows of"] += len({row[0] for row in commits} ^ race.epoch_of.keys())
    newest = 0
    for transaction_id, committed_at in commits:
        epoch = race.epoch_of.get(transaction_id)
        if epoch is None:
            continue
        broken["an epoch went backwards"] += epoch < newest
        broken["a write after the next holder had the lease"] += any(
            began <= committed_at for later, began in race.began.items() if later > epoch
        )
        newest = max(newest, epoch)
    return +broken


@pytest.mark.slow
class TestRace:
    @pytest.fixture
    async def database(self) -> AsyncIterator[Database]:
        """On a server that keeps the time of each commit."""
        async with own_database({"track_commit_timestamp": "on", "fsync": "off"}) as (_, database):
            yield database

    async def test_no_two_hold_at_once(self, database: Database) -> None:
        async def was_one(race: Race) -> bool:
            has_all = len(set(race.holders.values())) == HOLDERS
            return has_all and len(race.began) >= 15 and len(race.epoch_of) >= 50 and race.stale >= 5

        race = await run_race(database, SECONDS, was_one)

        assert await broken_rules(database, race) == {}
        assert await was_one(race)

    @pytest.mark.parametrize("check", ["none", "without a lock", "with a lock that lets the take-over through"])
    async def test_with_a_weaker_check_they_do(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, check: str
    ) -> None:
        text = writing.CHECK_LEASE.text
        weaker = {
            "none": "SELECT 1 WHERE $1::text IS NOT NULL AND $2::text IS NOT NULL AND $3::bigint > 0",
            "without a lock": text.replace("FOR SHARE", ""),
            "with a lock that lets the take-over through": text.replace("FOR SHARE", "FOR KEY SHARE"),
        }
        monkeypatch.setattr(writing, "CHECK_LEASE", Statement("weaker", weaker[check]))

        async def is_broken(race: Race) -> bool:
            return (await broken_rules(database, race))["a write after the next holder had the lease"] > 0

        race = await run_race(database, WITHOUT_CURE_SECONDS, is_broken)

        assert await is_broken(race)
