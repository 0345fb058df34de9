"""Every contradiction is found, by its check and in its words; where there is none, nothing is."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.database.sql_files import SQL_ROOT
from scheduler_repo.entities.audit import AuditCheck, AuditFinding
from scheduler_repo.repositories.audit.db_source import CHECKS, AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.audit.drifts import DRIFTS, Drift
from tests.audit.mixed_cluster import A1, A2, ENDED, SPREAD, WAITING, fill_mixed
from tests.support.busy_cluster import busy_cluster
from tests.support.cluster_rows import fill
from tests.support.databases import OWNER, READER, Database, DriverConnection
from tests.support.shared_databases import SharedDatabases
from tests.support.small_cluster import kernel_id, session_id

# Statements that are there for other purposes.
NO_CHECKS = {
    "log_lengths",
    "overcommitted_agents",
    "ledger_drift",
    "mend_agent_slots",
    "mend_agent_containers",
    "rebuild_usage",
}


class TestCleanClusters:
    async def test_an_empty_database_is_clean(self, audit_source: AuditRepository) -> None:
        report = await audit_source.audit()
        assert (report.findings, report.checks_run) == ((), len(AuditCheck))

    async def test_a_cluster_with_something_of_everything_is_clean(
        self, mixed_cluster: None, audit_source: AuditRepository
    ) -> None:
        assert (await audit_source.audit()).findings == ()

    async def test_a_busy_cluster_is_clean(
        self, audit_source: AuditRepository, owner_connection: DriverConnection
    ) -> None:
        await fill(owner_connection, busy_cluster())
        assert (await audit_source.audit()).findings == ()

    async def test_a_reader_may_audit(self, mixed_cluster: None, migrated_database: Database) -> None:
        # given
        engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(READER))))
        # when
        report = await AuditRepository(AuditDBSource(engine)).audit()
        await engine.dispose()
        # then
        assert report.findings == ()

    async def test_the_time_is_the_databases(
        self, audit_source: AuditRepository, owner_connection: DriverConnection
    ) -> None:
        before = await owner_connection.fetchval("SELECT clock_timestamp()")
        report = await audit_source.audit()
        assert before < report.observed_at < await owner_connection.fetchval("SELECT clock_timestamp()")


# Says what an audit finds after a script of the tables' owner, which is then undone.
FindAfter = Callable[[str], Awaitable[tuple[AuditFinding, ...]]]


@pytest.fixture(scope="module")
async def find_after(shared_databases: SharedDatabases) -> AsyncIterator[FindAfter]:
    """One cluster for all scripts, each in a transaction that is rolled back."""
    shared = await shared_databases.take()
    await fill_mixed(
        ClusterRepository(ClusterDBSource(shared.engine)).load_cluster,
        SchedulerRepository(SchedulerDBSource(shared.engine)),
        LifecycleRepository(LifecycleDBSource(shared.engine)),
        await shared.owner_connection(),
    )
    engine = create_engine(DatabaseSettings(url=SecretUrl(shared.database.url_as(OWNER))))

    async def find(script: str) -> tuple[AuditFinding, ...]:
        async with engine.begin_session() as db_sess:
            driver = driver_connection(db_sess)
            await driver.execute(f"SAVEPOINT sound; {script}")
            report = await AuditDBSource(engine).run_checks(db_sess)
            await driver.execute("ROLLBACK TO SAVEPOINT sound")
        return report.findings

    yield find
    await engine.dispose()
    await shared_databases.give_back(shared)


class TestDrift:
    @pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.name.replace(" ", "_"))
    async def test_it_is_found_and_nothing_else(self, find_after: FindAfter, drift: Drift) -> None:
        assert await find_after(drift.script) == drift.findings

    def test_every_check_has_one(self) -> None:
        assert {finding.check for drift in DRIFTS for finding in drift.findings} == set(AuditCheck)

    async def test_kernels_on_an_agent_that_is_not_there_are_all_too_many(self, find_after: FindAfter) -> None:
        # when
        findings = await find_after(
            "ALTER TABLE kernels DROP CONSTRAINT kernels_agent_id_fkey;"
            f"UPDATE kernels SET agent_id = 'ghost' WHERE id = '{kernel_id(SPREAD)}'"
        )
        # then
        found = [finding for finding in findings if finding.entity_id == "ghost"]
        assert [(each.check, each.what, each.expected, each.found) for each in found] == [
            (AuditCheck.AGENT_SLOTS_OCCUPIED, "occupied cpu", "2", "no row in agent_slots"),
            (AuditCheck.AGENT_SLOTS_OCCUPIED, "occupied mem", "1", "no row in agent_slots"),
            (AuditCheck.AGENT_CONTAINER_COUNTS, "container_count", "1", "no such agent"),
            (AuditCheck.AGENT_OVERCOMMITS, "capacity of cpu", "at most 0", "2"),
            (AuditCheck.AGENT_OVERCOMMITS, "capacity of mem", "at most 0", "1"),
        ]

    async def test_a_session_that_lost_its_kernels_still_counts_for_its_owners(
        self, find_after: FindAfter
    ) -> None:
        # when
        findings = await find_after(f"DELETE FROM kernels WHERE session_id = '{session_id(SPREAD)}'")
        # then
        owners = [each for each in findings if each.check is AuditCheck.OWNER_SESSIONS]
        assert [each.entity for each in owners] == ["access key", "domain", "project", "user"]
        assert {(each.expected, each.found) for each in owners} == {("4", "5")}
        assert (
            AuditFinding(
                AuditCheck.SESSIONS_WITHOUT_KERNELS,
                "session",
                str(session_id(SPREAD)),
                "kernels",
                "at least one",
                "none, SCHEDULED",
            )
            in findings
        )


class TestNoDrift:
    @pytest.mark.parametrize(
        "script",
        [
            # what has finished, which no check reads
            f"UPDATE kernels SET access_key = 'other' WHERE id = '{kernel_id(ENDED)}'",
            f"DELETE FROM kernels WHERE id = '{kernel_id(ENDED)}'",
            f"UPDATE sessions SET status = 'ERROR' WHERE id = '{session_id(ENDED)}'",
            # what may be purged
            "DELETE FROM session_history; DELETE FROM agent_history; DELETE FROM operations",
            # the history of a kernel
            "INSERT INTO session_history (session_id, kernel_id, to_status)"
            f" VALUES ('{session_id(WAITING)}', '{kernel_id(WAITING)}', 'ERROR')",
            # an agent that shrinks under load
            f"UPDATE agent_slots SET reported_capacity = 0 WHERE agent_id = '{A1}'",
            # zeros, which occupy nothing
            f"UPDATE kernels SET occupied_slots[3:9] = '{{0,0,0,0,0,0,0}}' WHERE agent_id = '{A2}'",
            # a mark that outlived its dependencies
            f"UPDATE sessions SET has_dependencies = true WHERE id = '{session_id(WAITING)}'",
        ],
    )
    async def test_it_is_not_found(self, find_after: FindAfter, script: str) -> None:
        assert await find_after(script) == ()


class TestStatements:
    async def test_each_answers_the_fields_of_a_finding(self, owner_connection: DriverConnection) -> None:
        fields = AuditFinding.__struct_fields__[1:]
        for statement in CHECKS.values():
            prepared = await owner_connection.prepare(statement.text)
            answered = [(column.name, column.type.name) for column in prepared.get_attributes()]
            assert answered == [(field, "text") for field in fields], statement.name

    def test_each_file_is_run(self) -> None:
        files = {path.stem for path in (SQL_ROOT / "audit").glob("*.sql")}
        assert files == {check.value for check in AuditCheck} | NO_CHECKS

    def test_each_file_says_what_it_is(self) -> None:
        for path in (SQL_ROOT / "audit").glob("*.sql"):
            comment = path.read_text(encoding="utf-8").partition("\nSELECT")[0]
            assert comment.startswith("-- "), path.name
            assert "\n-- Parameters: " in comment, path.name
            assert "Index: " in comment, path.name

    async def test_their_number_is_constant(
        self, mixed_cluster: None, audit_source: AuditRepository, engine: ExtendedAsyncSAEngine
    ) -> None:
        # given
        async with engine.begin_readonly_session() as db_sess:
            driver = driver_connection(db_sess)
        queries: list[str] = []
        # when
        with driver.query_logger(lambda record: queries.append(record.query)):
            await audit_source.audit()
        # then: with BEGIN and COMMIT
        assert len(queries) == len(AuditCheck) + 1 + 2
