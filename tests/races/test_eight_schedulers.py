"""Eight processes race over the same sessions, agents and owners: nothing is ever given away twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.allocation import RejectedAllocation, RejectionCode
from scheduler_repo.entities.obstacles import ContainerShortage, OwnerBreach, RowLocked, SlotShortage
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import AgentStatus, SessionId, SessionStatus
from tests.races.arena import arena
from tests.races.checks import BREACHED, BROKEN_CHAINS, OVERCOMMITTED
from tests.races.racer import Outcome
from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database, DriverConnection
from tests.support.program import running

PROCESSES = 8
RACE_SECONDS = 60
SHORT_RACE_SECONDS = 2
# A race that has not shown yet what it is to show goes on, so many times at most.
MOST_RACES = 30

ALLOCATIONS = """
SELECT session_id, count(*) FROM session_history
WHERE from_status = 'PENDING' AND to_status = 'SCHEDULED' GROUP BY session_id
"""


class Samples(msgspec.Struct):
    """What was seen from another connection meanwhile."""

    taken: int = 0
    overcommitted: int = 0
    breached: int = 0


def totals(outcomes: list[Outcome]) -> tuple[Counter[SessionId], Counter[str], Counter[str]]:
    """How often each session was allocated, each reason given, and each change made, by all together."""
    return (
        Counter(session_id for outcome in outcomes for session_id in outcome.allocated),
        sum((Counter(outcome.codes) for outcome in outcomes), Counter[str]()),
        sum((Counter(outcome.changes) for outcome in outcomes), Counter[str]()),
    )


class TestEightSchedulers:
    @pytest.fixture
    async def engine(self, migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER))))
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(arena())
        yield engine
        await engine.dispose()

    @pytest.fixture
    async def observer(self, migrated_database: Database) -> AsyncIterator[DriverConnection]:
        async with migrated_database.driver_as(OWNER) as connection:
            yield connection

    @pytest.mark.slow
    @pytest.mark.timeout(240)
    async def test_nothing_is_given_away_twice(
        self, migrated_database: Database, engine: ExtendedAsyncSAEngine, observer: DriverConnection
    ) -> None:
        # given two groups with shared owners
        # when eight processes race over them for a minute
        def was_one(outcomes: list[Outcome], samples: Samples) -> bool:
            allocated, codes, changes = totals(outcomes)
            reasons = (RejectionCode.NOT_PENDING, RejectionCode.AGENT, RejectionCode.OWNER_LIMIT)
            everything = ("running", "terminated", "requeued", "lost", "returned", "recovered")
            least = min(samples.taken, allocated.total(), *(codes[each] for each in reasons))
            return least > 100 and all(changes[each] for each in everything)

        outcomes, samples = await self.race_until(was_one, migrated_database, observer, RACE_SECONDS)
        # then
        allocated, codes, changes = totals(outcomes)
        print(f"\n{allocated.total()} allocated, {dict(codes)}, {dict(changes)}, {samples}")
        await self.assert_sound(migrated_database, engine, observer, outcomes, samples)
        # and the race was one
        assert was_one(outcomes, samples)

    async def test_nothing_is_given_away_twice_in_some_seconds(
        self, migrated_database: Database, engine: ExtendedAsyncSAEngine, observer: DriverConnection
    ) -> None:
        # given a race in which they are in each other's way
        def was_one(outcomes: list[Outcome], samples: Samples) -> bool:
            allocated, codes, _ = totals(outcomes)
            return min(samples.taken, allocated.total(), codes[RejectionCode.NOT_PENDING]) > 10

        # when
        outcomes, samples = await self.race_until(was_one, migrated_database, observer, SHORT_RACE_SECONDS)
        # then
        await self.assert_sound(migrated_database, engine, observer, outcomes, samples)
        assert was_one(outcomes, samples)

    async def assert_sound(
        self,
        database: Database,
        engine: ExtendedAsyncSAEngine,
        observer: DriverConnection,
        outcomes: list[Outcome],
        samples: Samples,
    ) -> None:
        # at no instant was an agent overcommitted or a quota breached
        assert (samples.overcommitted, samples.breached) == (0, 0)
        # and every session was allocated once per attempt, as the racers were told
        assert dict(await observer.fetch(ALLOCATIONS)) == totals(outcomes)[0]
        assert await observer.fetchval(BROKEN_CHAINS) == 0
        for outcome in outcomes:
            for rejected in outcome.rejected:
                assert await self.is_true(rejected, observer), rejected
        # and no deadlock was even broken by the server, and all counters are right
        async with database.driver_as(ADMIN) as admin:
            deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert await admin.fetchval(deadlocks) == 0
        assert (await AuditRepository(AuditDBSource(engine)).audit()).findings == ()

    @pytest.mark.slow
    async def test_it_is_the_owners_locks_that_keep_the_quotas(
        self, migrated_database: Database, engine: ExtendedAsyncSAEngine, observer: DriverConnection
    ) -> None:
        # given the same, without locks on the owners' rows
        # when
        _, samples = await self.race_until(
            lambda _, samples: samples.breached > 0,
            migrated_database,
            observer,
            SHORT_RACE_SECONDS,
            "--no-owner-locks",
        )
        # then quotas are breached, and still no agent is overcommitted
        print(f"\n{samples}")
        assert samples.breached > 0
        assert samples.overcommitted == 0

    async def race_until(
        self,
        is_shown: Callable[[list[Outcome], Samples], bool],
        database: Database,
        observer: DriverConnection,
        seconds: float,
        *options: str,
    ) -> tuple[list[Outcome], Samples]:
        """Race for so long, and again for a while until it is shown what the race is to show."""
        outcomes, samples = await self.race(database, observer, seconds, *options)
        for _ in range(MOST_RACES):
            if is_shown(outcomes, samples):
                break
            more, seen = await self.race(database, observer, SHORT_RACE_SECONDS, *options)
            outcomes += more
            samples.taken += seen.taken
            samples.overcommitted += seen.overcommitted
            samples.breached += seen.breached
        return outcomes, samples

    async def race(
        self, database: Database, observer: DriverConnection, seconds: float, *options: str
    ) -> tuple[list[Outcome], Samples]:
        samples = Samples()
        async with AsyncExitStack() as stack:
            racers = [
                await stack.enter_async_context(
                    running("tests.races.racer", database.url_as(SCHEDULER), str(seed), str(seconds), *options)
                )
                for seed in range(PROCESSES)
            ]
            ended = asyncio.gather(*(racer.end() for racer in racers))
            while not ended.done():
                samples.taken += 1
                samples.overcommitted += await observer.fetchval(OVERCOMMITTED)
                samples.breached += await observer.fetchval(BREACHED)
                await asyncio.wait([ended], timeout=0.02)
            assert await ended == [0] * PROCESSES
            told = [await racer.says() for racer in racers]
        return [msgspec.json.decode(line, type=Outcome) for line in told], samples

    async def is_true(self, rejected: RejectedAllocation, observer: DriverConnection) -> bool:
        """Whether a reason can have been true: by its own figures, or by what the histories tell."""
        code, detail = rejected.code, rejected.detail
        if isinstance(detail, SlotShortage):
            return detail.requested > detail.available
        if isinstance(detail, ContainerShortage):
            return detail.used + detail.requested > detail.limit
        if isinstance(detail, OwnerBreach):
            return detail.breach.used + detail.breach.requested > detail.breach.limit
        if code is RejectionCode.NOT_PENDING:
            assert isinstance(detail, SessionStatus)
            was = "SELECT count(*) FROM session_history WHERE session_id = $1 AND to_status = $2"
            return bool(await observer.fetchval(was, rejected.session_id, detail.value))
        if code is RejectionCode.AGENT_UNAVAILABLE:
            lost = "SELECT count(*) FROM agent_history WHERE agent_id = $1 AND to_status = $2"
            return bool(await observer.fetchval(lost, rejected.agent_id, AgentStatus.LOST.value))
        if isinstance(detail, RowLocked):
            # On a crowded machine another scheduler may keep a row of these for longer than a batch waits.
            return detail.table in ("sessions", "kernels", "quotas", "agents", "agent_slots")
        return False
