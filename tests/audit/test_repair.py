"""Counters are set to what the kernels hold, where a row may say so; nothing else is touched."""

import asyncio

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.database.statements import Statement
from scheduler_repo.entities.audit import (
    COUNTER_CHECKS,
    AuditCheck,
    DriftedCounter,
    RepairedCounter,
    RepairObstacle,
    RepairReport,
    UnrepairableCounter,
)
from scheduler_repo.errors import PermissionDenied, TransactionConflict
from scheduler_repo.repositories.audit import db_source as source_module
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import AgentId
from tests.audit.mixed_cluster import A1, A2, BUILT, CONTAINERS, HELD_CPU, HELD_MEM, IDLE, SPREAD, WAITING
from tests.support.databases import OWNER, READER, SCHEDULER, Database, DriverConnection
from tests.support.small_cluster import CPU, MEM, Ledger, held_on, kernel_id, ledger_of

DRIFT = f"""
UPDATE agent_slots SET occupied = 9 WHERE agent_id = '{A1}' AND slot_name = 'cpu';
UPDATE agent_slots SET occupied = 0 WHERE agent_id = '{A2}' AND slot_name = 'mem';
UPDATE agents SET container_count = 0 WHERE id = '{A2}';
UPDATE agent_slots SET occupied = 2 WHERE agent_id = '{IDLE}' AND slot_name = 'mem';
UPDATE agents SET container_count = 3 WHERE id = '{IDLE}';
"""
MENDED = (
    RepairedCounter(A1, CPU, before=9, after=HELD_CPU[A1]),
    RepairedCounter(A2, MEM, before=0, after=HELD_MEM[A2]),
    RepairedCounter(A2, None, before=0, after=CONTAINERS[A2]),
    RepairedCounter(IDLE, MEM, before=2, after=0),
    RepairedCounter(IDLE, None, before=3, after=0),
)


async def ledger_and_kernels(connection: DriverConnection) -> list[tuple[Ledger, Ledger]]:
    return [
        (await ledger_of(connection, agent_id), await held_on(connection, agent_id)) for agent_id in (A1, A2)
    ]


@pytest.mark.usefixtures("mixed_cluster")
class TestRepair:
    async def test_what_has_drifted_is_mended_and_said(
        self, audit_source: AuditRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        await owner_connection.execute(DRIFT)
        # when
        report = await audit_source.repair_counters()
        # then
        assert report == RepairReport(MENDED, ())
        assert (await audit_source.audit()).findings == ()
        for ledger, held in await ledger_and_kernels(owner_connection):
            assert ledger == held
        # and again finds nothing
        assert await audit_source.repair_counters() == RepairReport((), ())

    async def test_nothing_but_counters_is_mended(
        self, audit_source: AuditRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        await owner_connection.execute(
            f"{DRIFT} UPDATE kernels SET status = 'RUNNING' WHERE id = '{kernel_id(SPREAD)}'"
        )
        # when
        await audit_source.repair_counters()
        # then
        (left,) = (await audit_source.audit()).findings
        assert left.check is AuditCheck.KERNEL_STATUSES

    async def test_usage_is_counted_anew(
        self, audit_source: AuditRepository, owner_connection: DriverConnection
    ) -> None:
        # given what occupies agents, but for one kernel that is changed past its trigger, and a log of it
        await owner_connection.execute(
            "ALTER TABLE kernels DISABLE TRIGGER log_usage_of_update;"
            f"UPDATE kernels SET occupied_slots = '{{1, 1}}' WHERE id = '{kernel_id(SPREAD, 1)}';"
            "ALTER TABLE kernels ENABLE ALWAYS TRIGGER log_usage_of_update"
        )
        assert AuditCheck.OWNER_USAGE in {finding.check for finding in (await audit_source.audit()).findings}
        # when
        await audit_source.rebuild_usage()
        # then
        assert AuditCheck.OWNER_USAGE not in {
            finding.check for finding in (await audit_source.audit()).findings
        }
        assert await owner_connection.fetchval("SELECT count(*) FROM usage_log") == 0

    async def test_an_agent_that_is_overcommitted_is_left_and_the_others_are_mended(
        self, audit_source: AuditRepository, owner_connection: DriverConnection
    ) -> None:
        # given kernels that hold more than their agent has, in a slot and in number
        await owner_connection.execute(
            f"{DRIFT} UPDATE kernels SET occupied_slots = '{{40, 1}}' WHERE id = '{kernel_id(SPREAD, 1)}';"
            f"UPDATE agents SET max_containers = 2 WHERE id = '{A2}'"
        )
        # when
        report = await audit_source.repair_counters()
        # then
        assert report.repaired == (MENDED[0], MENDED[1], *MENDED[3:])
        held = HELD_CPU[A2] - 3 + 40
        assert report.unrepairable == (
            UnrepairableCounter(
                DriftedCounter(A2, 0, CPU, HELD_CPU[A2], held, 10), RepairObstacle.ABOVE_CAPACITY
            ),
            UnrepairableCounter(
                DriftedCounter(A2, None, None, 0, CONTAINERS[A2], 2), RepairObstacle.ABOVE_MAX_CONTAINERS
            ),
        )
        left = {finding.check for finding in (await audit_source.audit()).findings}
        assert left == {*COUNTER_CHECKS, AuditCheck.AGENT_OVERCOMMITS, AuditCheck.KERNELS_ABOVE_REQUEST}

    async def test_a_total_above_63_bits_is_above_the_capacity(
        self, audit_source: AuditRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        most = 2**63 - 1
        await owner_connection.execute(
            f"UPDATE kernels SET occupied_slots[2] = {most} WHERE agent_id = '{A2}' AND status <> 'TERMINATED'"
        )
        # when
        report = await audit_source.repair_counters()
        # then
        (left,) = report.unrepairable
        assert (left.obstacle, left.counter.held) == (RepairObstacle.ABOVE_CAPACITY, 3 * most)

    async def test_what_has_no_row_is_left(
        self, audit_source: AuditRepository, owner_connection: DriverConnection
    ) -> None:
        # given a slot that is not the agent's, an index without a slot type, and an agent that is not there
        await owner_connection.execute(
            f"DELETE FROM agent_slots WHERE agent_id = '{A1}' AND slot_name = 'mem';"
            f"UPDATE kernels SET occupied_slots[3:5] = '{{0,0,6}}' WHERE id = '{kernel_id(BUILT)}';"
            "ALTER TABLE kernels DROP CONSTRAINT kernels_agent_id_fkey;"
            f"UPDATE kernels SET agent_id = 'ghost', status = 'SCHEDULED' WHERE id = '{kernel_id(WAITING)}'"
        )
        # when
        report = await audit_source.repair_counters()
        # then
        ghost = AgentId("ghost")
        assert report == RepairReport(
            (),
            (
                UnrepairableCounter(
                    DriftedCounter(A1, 1, MEM, None, HELD_MEM[A1], None), RepairObstacle.SLOT_NOT_ON_AGENT
                ),
                UnrepairableCounter(
                    DriftedCounter(A2, 4, None, None, 6, None), RepairObstacle.SLOT_TYPE_UNKNOWN
                ),
                UnrepairableCounter(
                    DriftedCounter(ghost, None, None, None, 1, None), RepairObstacle.AGENT_UNKNOWN
                ),
            ),
        )

    async def test_a_reader_may_not(self, migrated_database: Database) -> None:
        # given
        await migrated_database.run_as(OWNER, DRIFT)
        engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(READER))))
        # when
        with pytest.raises(PermissionDenied):
            await AuditRepository(AuditDBSource(engine)).repair_counters()
        # then
        await engine.dispose()

    async def test_the_number_of_statements_is_constant(
        self,
        audit_source: AuditRepository,
        engine: ExtendedAsyncSAEngine,
        owner_connection: DriverConnection,
    ) -> None:
        # given
        async with engine.begin_readonly_session() as db_sess:
            driver = driver_connection(db_sess)
        counts = []
        for script in (f"UPDATE agents SET container_count = 1 WHERE id = '{IDLE}'", DRIFT, "SELECT"):
            await owner_connection.execute(script)
            queries: list[str] = []
            # when
            with driver.query_logger(lambda record, queries=queries: queries.append(record.query)):
                await audit_source.repair_counters()
            counts.append(len(queries))
        # then: with BEGIN and COMMIT; the driver itself asks for types on the connection's first arrays
        assert counts[1:] == [8, 3]


@pytest.mark.usefixtures("mixed_cluster")
class TestLocks:
    async def wait_until_blocked(
        self, connection: DriverConnection, task: "asyncio.Task[RepairReport]"
    ) -> None:
        """Return when the task's statement waits for a lock; fails if it ends without."""
        blocked = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
        )
        while not await connection.fetchval(blocked):
            assert not task.done()

    async def test_what_a_writer_commits_meanwhile_is_counted(
        self, audit_source: AuditRepository, migrated_database: Database, owner_connection: DriverConnection
    ) -> None:
        # given a drift, and a writer that has placed a kernel and not committed yet
        await owner_connection.execute(f"UPDATE agent_slots SET occupied = 9 WHERE agent_id = '{A1}'")
        async with migrated_database.driver_as(OWNER) as writer:
            transaction = writer.transaction()
            await transaction.start()
            await writer.execute(f"SELECT FROM agents WHERE id = '{A1}' FOR NO KEY UPDATE")
            await writer.execute(f"SELECT FROM agent_slots WHERE agent_id = '{A1}' FOR NO KEY UPDATE")
            await writer.execute(
                "UPDATE kernels SET status = 'SCHEDULED', occupied_slots = requested_slots,"
                f" agent_id = '{A1}' WHERE id = '{kernel_id(WAITING)}'"
            )
            # when
            repair = asyncio.create_task(audit_source.repair_counters())
            await self.wait_until_blocked(owner_connection, repair)
            await writer.execute(f"UPDATE agents SET container_count = container_count + 1 WHERE id = '{A1}'")
            await writer.execute(f"UPDATE agent_slots SET occupied = occupied + 1 WHERE agent_id = '{A1}'")
            await transaction.commit()
            report = await repair
        # then
        assert report.repaired == (
            RepairedCounter(A1, CPU, before=10, after=HELD_CPU[A1] + 1),
            RepairedCounter(A1, MEM, before=10, after=HELD_MEM[A1] + 1),
        )
        assert await ledger_of(owner_connection, A1) == await held_on(owner_connection, A1)

    async def test_a_container_that_a_writer_commits_meanwhile_is_counted(
        self, audit_source: AuditRepository, migrated_database: Database, owner_connection: DriverConnection
    ) -> None:
        # given a drift, and a writer of a kernel without slots, which has to lock no slots
        await owner_connection.execute(f"UPDATE agents SET container_count = 0 WHERE id = '{A1}'")
        async with migrated_database.driver_as(OWNER) as writer:
            transaction = writer.transaction()
            await transaction.start()
            await writer.execute(f"SELECT FROM agents WHERE id = '{A1}' FOR NO KEY UPDATE")
            await writer.execute(
                f"UPDATE kernels SET status = 'SCHEDULED', agent_id = '{A1}' WHERE id = '{kernel_id(WAITING)}'"
            )
            # when
            repair = asyncio.create_task(audit_source.repair_counters())
            await self.wait_until_blocked(owner_connection, repair)
            await writer.execute(f"UPDATE agents SET container_count = container_count + 1 WHERE id = '{A1}'")
            await transaction.commit()
            report = await repair
        # then
        assert report.repaired == (RepairedCounter(A1, None, before=1, after=CONTAINERS[A1] + 1),)

    async def test_agents_that_agree_are_not_waited_for(
        self, audit_source: AuditRepository, migrated_database: Database, owner_connection: DriverConnection
    ) -> None:
        # given a writer that holds the other agents
        await owner_connection.execute(f"UPDATE agent_slots SET occupied = 9 WHERE agent_id = '{A1}'")
        async with migrated_database.driver_as(OWNER) as writer, writer.transaction():
            await writer.execute(f"SELECT FROM agents WHERE id <> '{A1}' FOR UPDATE")
            await writer.execute(f"SELECT FROM agent_slots WHERE agent_id <> '{A1}' FOR UPDATE")
            # when
            report = await audit_source.repair_counters()
        # then
        assert len(report.repaired) == 2

    async def test_a_lock_that_is_not_had_leaves_its_agent(
        self, migrated_database: Database, owner_connection: DriverConnection
    ) -> None:
        # given
        await owner_connection.execute(DRIFT)
        settings = DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER)), lock_timeout=0.1)
        engine = create_engine(settings)
        async with migrated_database.driver_as(OWNER) as writer, writer.transaction():
            await writer.execute(f"SELECT FROM agent_slots WHERE agent_id = '{A2}' FOR UPDATE")
            # when
            first = await AuditRepository(AuditDBSource(engine)).repair_counters()
            pid = writer.get_server_pid()
        # then
        left = {(each.counter.agent_id, each.obstacle) for each in first.unrepairable}
        assert left == {(A2, RepairObstacle.ROW_LOCKED)}
        assert {each.locked.pids for each in first.unrepairable if each.locked} == {(pid,)}
        report = await AuditRepository(AuditDBSource(engine)).repair_counters()
        await engine.dispose()
        assert {*first.repaired, *report.repaired} == {*MENDED}

    @pytest.mark.usefixtures("no_retry_waits")
    @pytest.mark.parametrize(
        ("counter", "expected"),
        [
            ("       r.occupied", "mend_agent_slots found 0 of 3 rows"),
            ("NULL, c.container_count", "mend_agent_containers found 0 of 2 rows"),
        ],
    )
    async def test_a_counter_that_is_not_as_it_was_seen_is_a_conflict(
        self,
        audit_source: AuditRepository,
        owner_connection: DriverConnection,
        monkeypatch: pytest.MonkeyPatch,
        counter: str,
        expected: str,
    ) -> None:
        # given a look that saw other counters than there are when they are set
        await owner_connection.execute(DRIFT)
        looked = source_module.LEDGER_DRIFT.text
        seen = looked.replace(counter, f"{counter} + 1")
        assert seen != looked
        monkeypatch.setattr(source_module, "LEDGER_DRIFT", Statement("ledger_drift", seen))
        # when
        with pytest.raises(TransactionConflict, match=expected):
            await audit_source.repair_counters()
        # then nothing of it was written
        assert await owner_connection.fetchval("SELECT count(*) FROM agent_slots WHERE occupied = 9") == 1
        assert await owner_connection.fetchval("SELECT count(*) FROM agents WHERE container_count = 3") == 1
