"""Repairs beside schedulers: whoever places, ends and mends at once, every counter is what the kernels hold."""

import asyncio
from random import Random

import msgspec
import pytest

from scheduler_repo.database.engine import create_engine
from scheduler_repo.entities.audit import AuditCheck
from scheduler_repo.entities.lifecycle import SessionRetry
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.busy_cluster import writers_at_work
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import (
    CPU,
    GROUP,
    MEM,
    Ledger,
    agent,
    cluster,
    held_on,
    ledger_of,
    place,
    session,
    session_id,
)

SCHEDULERS = 3
PER_SCHEDULER = 12
SESSIONS = range(SCHEDULERS * PER_SCHEDULER)
ROUNDS = 6
MOST_RACES = 100
# So many with commits meanwhile.
AUDITS = 10
MOST_AUDITS = 1_000
AGENTS = tuple(f"agent-{number}" for number in range(3))
# Room for all sessions on one agent, and for what the counters are wrong by.
CAPACITY = 10_000
MOST_DRIFT = 100


class Seen(msgspec.Struct):
    """What came of the race; a release is refused where the counters are below what is to be given back."""

    placed: int = 0
    refused: int = 0
    mended: int = 0


class Race:
    """Schedulers that place and requeue, a hand that writes wrong counters, and repairs."""

    def __init__(
        self, scheduler: SchedulerRepository, lifecycle: LifecycleRepository, audit_source: AuditRepository
    ) -> None:
        self.seen = Seen()
        self.is_over = False
        self._scheduler = scheduler
        self._lifecycle = lifecycle
        self._audit_source = audit_source
        self._rng = Random(99)  # noqa: S311 - a workload, not a secret

    async def schedule(self, number: int, times: int) -> None:
        """Place one's own sessions anywhere and queue them again; those that are refused stay for later."""
        numbers = range(number * PER_SCHEDULER, (number + 1) * PER_SCHEDULER)
        for _ in range(times):
            shuffled = self._rng.sample(numbers, PER_SCHEDULER)
            batch = [place(one, *self._rng.choices(AGENTS, k=2)) for one in shuffled]
            placed = await self._scheduler.allocate_sessions(GROUP, batch)
            ended = self._rng.sample(numbers, PER_SCHEDULER // 2)
            requeued = await self._lifecycle.requeue_sessions([SessionRetry(session_id(one)) for one in ended])
            self.seen.placed += len(placed.allocated)
            self.seen.refused += sum(each.agent_id is not None for each in requeued.rejected)

    async def drift(self, connection: DriverConnection) -> None:
        """Write wrong counters without a look at the kernels, each row in a transaction of its own.

        One that locks two rows, in the order in which they lie, is in a deadlock with a scheduler now and then.
        """
        slot = self._rng.choice((CPU, MEM))
        for table, counter, row in (
            ("agent_slots", "occupied", f"agent_id = $1 AND slot_name = '{slot}'"),
            ("agents", "container_count", "id = $1"),
        ):
            await connection.execute(
                f"UPDATE {table} SET {counter} = $2 WHERE {row}",
                self._rng.choice(AGENTS),
                self._rng.randrange(MOST_DRIFT),
            )

    async def repair(self) -> None:
        report = await self._audit_source.repair_counters()
        assert report.unrepairable == ()
        self.seen.mended += len(report.repaired)

    async def schedule_all(self, times: int) -> None:
        await asyncio.gather(*(self.schedule(number, times) for number in range(SCHEDULERS)))


class TestRepairRaces:
    @pytest.fixture
    async def race(
        self,
        load: Load,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
        audit_source: AuditRepository,
    ) -> Race:
        agents = [agent(name, cpu=CAPACITY, mem=CAPACITY) for name in AGENTS]
        await load(cluster(agents, [session(number, 1 + number % 3, 2) for number in SESSIONS]))
        return Race(scheduler, lifecycle, audit_source)

    async def test_what_one_repair_mends_beside_schedulers_stays_mended(
        self, race: Race, audit_source: AuditRepository, owner_connection: DriverConnection
    ) -> None:
        for _ in range(ROUNDS):
            # given
            await race.drift(owner_connection)
            # when
            await asyncio.gather(race.schedule_all(1), race.repair())
            # then
            assert (await audit_source.audit()).findings == ()
        # then it was a race
        assert race.seen.mended > ROUNDS
        assert race.seen.placed > ROUNDS

    async def test_no_counter_is_wrong_after_drifts_and_repairs_at_once(
        self,
        race: Race,
        migrated_database: Database,
        lifecycle: LifecycleRepository,
        audit_source: AuditRepository,
        owner_connection: DriverConnection,
    ) -> None:
        async def go_on_drifting() -> None:
            async with migrated_database.driver_as(OWNER) as connection:
                while not race.is_over:
                    await race.drift(connection)

        async def go_on_repairing() -> None:
            while not race.is_over:
                await race.repair()

        # when
        async with asyncio.TaskGroup() as others:
            for work in (go_on_drifting(), go_on_repairing(), go_on_repairing()):
                others.create_task(work)
            for _ in range(MOST_RACES):
                await race.schedule_all(ROUNDS)
                # then it was one
                if race.seen.refused and min(race.seen.placed, race.seen.mended) > ROUNDS:
                    break
            else:
                raise AssertionError(f"no release was refused, or little else was done: {race.seen}")
            race.is_over = True
        # then one more repair leaves nothing, so that all that is held can be given back
        await race.repair()
        assert (await audit_source.audit()).findings == ()
        await lifecycle.requeue_sessions([SessionRetry(session_id(number)) for number in SESSIONS])
        for name in AGENTS:
            assert await ledger_of(owner_connection, name) == await held_on(owner_connection, name)
            assert await ledger_of(owner_connection, name) == Ledger(0, 0, 0)

    async def test_writers_at_work_are_never_taken_for_drift(
        self, migrated_database: Database, audit_source: AuditRepository
    ) -> None:
        # given an engine apart from the audit's, so that neither waits for the other's connections
        url = SecretUrl(migrated_database.url_as(SCHEDULER))
        writing_engine = create_engine(DatabaseSettings(url=url))
        disturbed = 0
        async with writers_at_work(migrated_database, writing_engine) as writers:
            for _ in range(MOST_AUDITS):
                before = writers.commits
                # when
                repair, report = await asyncio.gather(audit_source.repair_counters(), audit_source.audit())
                disturbed += writers.commits > before
                # then; these writers queue sessions again by plain SQL, without a history row
                assert (repair.repaired, repair.unrepairable) == ((), ())
                assert {each.check for each in report.findings} <= {AuditCheck.SESSION_HISTORIES}
                if disturbed == AUDITS:
                    break
        await writing_engine.dispose()
        assert disturbed == AUDITS
