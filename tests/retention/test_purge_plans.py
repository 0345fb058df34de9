"""What a purge reads: each old row once, by an index, however many are kept and however long the history is."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.database.statements import Statement
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.retention import db_source
from scheduler_repo.repositories.retention.repository import RetentionRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection
from tests.support.old_rows import LIVE, add_agent_history, add_finished, add_operations
from tests.support.plans import sequential_scans
from tests.support.small_cluster import agent, cluster, session, session_id

MONTH = timedelta(days=30)
# Far fewer, and PostgreSQL 15 rightly reads a small table as a whole.
FINISHED = range(1_000, 17_000)
KEPT = 1_000
LARGE_TABLES = {
    "sessions",
    "kernels",
    "session_history",
    "session_dependencies",
    "agent_history",
    "operations",
}
CUTOFF = datetime(2100, 1, 1, tzinfo=UTC)
SESSION_IDS = [str(session_id(number)) for number in FINISHED[:500]]

# What a batch gives each statement.
PARAMETERS: Mapping[Statement, tuple[object, ...]] = {
    db_source.PURGE_CANDIDATES: (CUTOFF, None, None, 500),
    db_source.PURGE_NEEDED_SESSIONS: (SESSION_IDS,),
    db_source.PURGE_SESSIONS: (SESSION_IDS, CUTOFF),
    db_source.PURGE_ARCHIVED_SESSIONS: (SESSION_IDS,),
    db_source.PURGE_ARCHIVED_KERNELS: (SESSION_IDS,),
    db_source.PURGE_ARCHIVED_HISTORY: (SESSION_IDS,),
    db_source.PURGE_ARCHIVED_MOUNTS: (SESSION_IDS,),
    db_source.PURGE_AGENT_HISTORY: (CUTOFF, None, None, 500),
    db_source.PURGE_OPERATIONS: (CUTOFF, None, 500),
}


def literal(value: object) -> str:
    """A parameter in SQL, without its type."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "'{" + ", ".join(value) + "}'"
    return f"'{value}'"


@pytest.fixture
async def engine(fresh_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """The same cluster without traces of other tests, which the server may count as late as now."""
    made = create_engine(DatabaseSettings(url=SecretUrl(fresh_database.url_as(SCHEDULER))))
    sessions = [session(number, 1, 1) for number in LIVE]
    await ClusterRepository(ClusterDBSource(made)).load_cluster(cluster([agent("a1"), agent("a2")], sessions))
    yield made
    await made.dispose()


@pytest.fixture
async def owner_connection(
    fresh_database: Database, engine: ExtendedAsyncSAEngine
) -> AsyncIterator[DriverConnection]:
    async with fresh_database.driver_as(OWNER) as connection:
        yield connection


class TestReading:
    @pytest.fixture
    async def old(self, engine: ExtendedAsyncSAEngine, owner_connection: DriverConnection) -> None:
        """Much that is old, of which all depends on the last."""
        for table in LARGE_TABLES:
            # it would have statements planned anew, and a plan looks at the rows that are deleted, too
            await owner_connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        await add_finished(owner_connection, FINISHED)
        await add_operations(owner_connection, len(FINISHED))
        for agent_id in ("a1", "a2"):
            await add_agent_history(owner_connection, agent_id, len(FINISHED) // 2)
        others = f"SELECT id FROM sessions WHERE status = 'TERMINATED' AND id <> '{session_id(FINISHED[-1])}'"
        await owner_connection.execute(
            f"""
            INSERT INTO session_dependencies
            SELECT id, '{session_id(FINISHED[-1])}' FROM ({others}) AS others
            """
        )
        await owner_connection.execute("VACUUM ANALYZE")

    async def keep_first(self, connection: DriverConnection) -> None:
        """Have a live session depend on those that finished first."""
        await connection.execute(
            f"""
            INSERT INTO session_dependencies
            SELECT '{session_id(LIVE[0])}'::uuid, id FROM sessions
            WHERE status = 'TERMINATED' ORDER BY status_changed_at LIMIT {KEPT};
            ANALYZE session_dependencies
            """
        )
        # else what this connection has read is counted later
        await connection.execute("SELECT pg_stat_force_next_flush()")

    async def counted(
        self, engine: ExtendedAsyncSAEngine, connection: DriverConnection, query: str
    ) -> dict[str, int]:
        """What the server has counted, with what the engine's connection did last."""
        async with engine.begin_session() as db_sess:
            await driver_connection(db_sess).execute("SELECT pg_stat_force_next_flush()")
        return dict(await connection.fetch(query))

    async def check_plans(self, engine: ExtendedAsyncSAEngine) -> None:
        """No plan reads a table as a whole."""
        async with engine.begin_session() as db_sess:
            driver = driver_connection(db_sess)
            for mode in ("force_custom_plan", "force_generic_plan"):
                await driver.execute(f"SET LOCAL plan_cache_mode = {mode}")
                for statement, values in PARAMETERS.items():
                    # It is never planned without its parameters: the engine sees to that.
                    if statement is db_source.PURGE_NEEDED_SESSIONS and mode == "force_generic_plan":
                        continue
                    await driver.execute(f"PREPARE planned AS {statement.text}")
                    given = ", ".join(literal(value) for value in values)
                    (answer,) = await driver.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE planned ({given})")
                    await driver.execute("DEALLOCATE planned")
                    scanned = sequential_scans(answer["Plan"])
                    assert not scanned & LARGE_TABLES, f"{statement.name}, {mode}"

    async def test_each_old_row_once_and_no_table_as_a_whole(
        self,
        retention: RetentionRepository,
        engine: ExtendedAsyncSAEngine,
        owner_connection: DriverConnection,
        old: None,
    ) -> None:
        # given a column of so few values that an index on it looks useless, then of many
        await self.check_plans(engine)
        await self.keep_first(owner_connection)
        await self.check_plans(engine)
        scans = "SELECT relname::text, seq_scan FROM pg_stat_user_tables"
        reads = "SELECT indexrelname::text, idx_tup_read FROM pg_stat_user_indexes"
        scans_before = await self.counted(engine, owner_connection, scans)
        reads_before = await self.counted(engine, owner_connection, reads)
        # when
        done = await retention.purge(MONTH)
        # then
        assert (done.sessions, done.kept_sessions) == (len(FINISHED) - KEPT, KEPT)
        assert (done.operations, done.agent_history) == (len(FINISHED), len(FINISHED) - 2)
        scans_after = await self.counted(engine, owner_connection, scans)
        reads_after = await self.counted(engine, owner_connection, reads)
        scans_of = {table: scans_after[table] - scans_before[table] for table in LARGE_TABLES}
        # the batch of the session on which nearly all others depend looks at them all
        assert scans_of.pop("session_dependencies") <= 1
        assert not any(scans_of.values())
        read = {name: reads_after[name] - reads_before[name] for name in reads_after}
        # and what each batch reads too much of, to see where its end is
        allowed = len(FINISHED) + done.batches
        assert len(FINISHED) <= read["sessions_finished_idx"] <= allowed
        assert len(FINISHED) <= read["operations_created_at_idx"] <= allowed
        # two agents' rows have the same times
        assert len(FINISHED) <= read["agent_history_changed_at_idx"] <= allowed + 2 * done.batches
