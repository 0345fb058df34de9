"""Beside 12,000 finished sessions a page costs what it answers, and no statement reads a whole table."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from statistics import median
from time import perf_counter
from typing import Any, Final, Optional
from uuid import UUID

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.database.session_search import PageKey, SessionSearch
from scheduler_repo.database.statements import Statement, fetch_rows
from scheduler_repo.entities.session import SessionFilter, SessionOrder
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.history import db_source as history
from scheduler_repo.repositories.kernel import db_source as kernel
from scheduler_repo.repositories.session import creation
from scheduler_repo.repositories.session import db_source as session_source
from scheduler_repo.repositories.vfolder import db_source as vfolder
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.testing.prepared_databases import PreparingServer
from scheduler_repo.types import DomainName, ProjectId, SessionStatus, SessionType, UserId
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.plans import LARGE_TABLES, nodes, sequential_scans
from tests.support.small_cluster import (
    ACCESS_KEY,
    DOMAIN,
    GROUP,
    PROJECT,
    USER,
    agent,
    cluster,
    kernel_id,
    session,
    session_id,
)

FINISHED: Final = 12_000
PAGE: Final = 20
DEEP: Final = 400
# One in a hundred is of another owner, whose sessions ended long ago.
RARE_USER: Final = UserId(UUID(int=77))
RARE_PROJECT: Final = ProjectId(UUID(int=78))

FILL: Final = f"""
-- Without a look at the owners of each.
SET session_replication_role = replica;
INSERT INTO domains (name) VALUES ('rare');
INSERT INTO users (id, name, domain_name) VALUES ('{RARE_USER}', 'rare', 'rare');
INSERT INTO projects (id, name, domain_name) VALUES ('{RARE_PROJECT}', 'rare', 'rare');
INSERT INTO keypairs (access_key, user_id) VALUES ('rare', '{RARE_USER}'), ('unused', '{RARE_USER}');
CREATE TEMPORARY TABLE finished AS
    SELECT gen_random_uuid() AS id, number, number < {FINISHED // 100} AS is_rare
    FROM generate_series(0, {FINISHED - 1}) AS number;
INSERT INTO sessions (id, name, scaling_group, access_key, user_id, project_id, domain_name, session_type,
                      cluster_mode, status, result, created_at)
SELECT id, 'finished', '{GROUP}', CASE WHEN is_rare THEN 'rare' ELSE '{ACCESS_KEY}' END,
       CASE WHEN is_rare THEN '{RARE_USER}' ELSE '{USER}' END::uuid,
       CASE WHEN is_rare THEN '{RARE_PROJECT}' ELSE '{PROJECT}' END::uuid,
       CASE WHEN is_rare THEN 'rare' ELSE '{DOMAIN}' END, 'BATCH', 'SINGLE_NODE', 'TERMINATED', 'SUCCESS',
       '2026-01-01Z'::timestamptz + number * interval '1 second'
FROM finished;
INSERT INTO kernels (id, session_id, kernel_index, scaling_group, access_key, user_id, project_id, domain_name,
                     status, agent_id, requested_slots, occupied_slots)
SELECT id, id, 0, '{GROUP}', '{ACCESS_KEY}', '{USER}', '{PROJECT}', '{DOMAIN}', 'TERMINATED', 'agent',
       '{{1,1}}', '{{1,1}}'
FROM finished;
INSERT INTO session_history (session_id, to_status) SELECT id, 'TERMINATED' FROM finished;
INSERT INTO session_dependencies (session_id, depends_on)
    SELECT id, '{session_id(1)}' FROM finished WHERE number % 100 = 0;
INSERT INTO agent_history (agent_id, to_status, changed_at)
    SELECT 'agent', 'ALIVE', '2026-01-01Z'::timestamptz + number * interval '1 second'
    FROM finished WHERE number % 10 = 0;
UPDATE sessions SET status = 'RUNNING', result = NULL
    WHERE id IN (SELECT id FROM finished WHERE number % 400 = 7);
UPDATE kernels SET status = 'RUNNING' WHERE id IN (SELECT id FROM finished WHERE number % 400 = 7);
VACUUM (ANALYZE);
"""

SERVED: Final = {
    "all": SessionFilter(),
    "scaling_group": SessionFilter(scaling_group=GROUP),
    "access_key": SessionFilter(access_key=ACCESS_KEY),
    "user": SessionFilter(user_id=USER),
    "project": SessionFilter(project_id=PROJECT),
    "domain": SessionFilter(domain_name=DOMAIN),
    "owners": SessionFilter(access_key=ACCESS_KEY, user_id=USER, project_id=PROJECT, domain_name=DOMAIN),
    "status": SessionFilter(statuses=(SessionStatus.TERMINATED, SessionStatus.ERROR)),
    "type and name": SessionFilter(session_type=SessionType.BATCH, name="finished"),
}


async def explained(
    engine: ExtendedAsyncSAEngine, statement: Statement, *parameters: object
) -> Mapping[str, Any]:
    """What a statement does, in the engine's own settings."""
    async with engine.begin_readonly_session() as db_sess:
        (answer,) = await driver_connection(db_sess).fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}", *parameters
        )
    plan: Mapping[str, Any] = answer["Plan"]
    return plan


def rows_read(plan: Mapping[str, Any]) -> int:
    """How many rows of sessions were looked at."""
    return sum(
        round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in nodes(plan)
        if node.get("Relation Name") == "sessions"
    )


def blocks(plan: Mapping[str, Any]) -> int:
    hit, read = plan["Shared Hit Blocks"], plan["Shared Read Blocks"]
    assert isinstance(hit, int)
    assert isinstance(read, int)
    return hit + read


class TestPlansAtSize:
    @pytest.fixture(scope="class")
    @classmethod
    def full_database(cls, postgres_server: PreparingServer, migrated_template: Database) -> Iterator[Database]:
        async def make() -> Database:
            database = await postgres_server.create_database(migrated_template)
            engine = create_engine(DatabaseSettings(url=SecretUrl(database.url_as(SCHEDULER))))
            await ClusterRepository(ClusterDBSource(engine)).load_cluster(
                cluster([agent("agent")], [session(number, 1) for number in range(10)])
            )
            await engine.dispose()
            async with database.driver_as(ADMIN) as driver:
                for statement in FILL.split(";")[:-1]:
                    await driver.execute(statement)
            return database

        database = asyncio.run(make())
        yield database
        asyncio.run(postgres_server.drop_database(database))

    @pytest.fixture
    async def engine(self, full_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        engine = create_engine(DatabaseSettings(url=SecretUrl(full_database.url_as(SCHEDULER))))
        yield engine
        await engine.dispose()

    async def deep_key(self, engine: ExtendedAsyncSAEngine, order: SessionOrder) -> PageKey:
        """Where the page before a late one ends."""
        direction = "DESC" if order is SessionOrder.NEWEST_FIRST else "ASC"
        async with engine.begin_readonly_session() as db_sess:
            row = await driver_connection(db_sess).fetchrow(
                f"SELECT created_at, id FROM sessions ORDER BY created_at {direction}, id {direction} "
                f"OFFSET {(DEEP - 1) * PAGE - 1} LIMIT 1"
            )
        assert row is not None
        return row[0], row[1]

    @pytest.mark.parametrize("order", list(SessionOrder))
    @pytest.mark.parametrize("name", SERVED)
    async def test_a_late_page_reads_what_page_1_reads(
        self, engine: ExtendedAsyncSAEngine, name: str, order: SessionOrder
    ) -> None:
        # given
        wanted = SERVED[name]
        key = await self.deep_key(engine, order)
        plans = []
        for after in (None, key):
            # when
            search = SessionSearch(wanted, order, PAGE, after)
            plans.append(await explained(engine, search.statement, *search.parameters))
        # then
        first, deep = plans
        assert first["Actual Rows"] == deep["Actual Rows"] == PAGE
        for plan in plans:
            assert not sequential_scans(plan) & LARGE_TABLES
            # Ten pending and some that run stand between.
            assert rows_read(plan) <= PAGE + 12 + PAGE // 10
        assert blocks(deep) <= 1.25 * blocks(first) + 10

    @pytest.mark.parametrize("order", list(SessionOrder))
    @pytest.mark.parametrize(
        "wanted",
        [
            SessionFilter(user_id=RARE_USER),
            SessionFilter(domain_name=DomainName("rare")),
            SessionFilter(user_id=RARE_USER, scaling_group=GROUP, domain_name=DomainName("rare")),
            SessionFilter(statuses=(SessionStatus.PENDING,)),
            SessionFilter(statuses=(SessionStatus.PENDING,), scaling_group=GROUP),
        ],
    )
    async def test_what_is_rare_is_found_without_a_walk_through_history(
        self, engine: ExtendedAsyncSAEngine, wanted: SessionFilter, order: SessionOrder
    ) -> None:
        # when
        search = SessionSearch(wanted, order, PAGE, None)
        plan = await explained(engine, search.statement, *search.parameters)
        # then
        assert 0 < rows_read(plan) <= 2 * PAGE
        assert not sequential_scans(plan) & LARGE_TABLES

    @pytest.mark.slow
    async def test_page_1000_takes_the_time_of_page_1(self, engine: ExtendedAsyncSAEngine) -> None:
        # given
        key = await self.deep_key(engine, SessionOrder.NEWEST_FIRST)
        times: dict[Optional[PageKey], list[float]] = {None: [], key: []}
        # when
        for _ in range(15):
            for after, taken in times.items():
                search = SessionSearch(SessionFilter(), SessionOrder.NEWEST_FIRST, PAGE, after)
                async with engine.begin_readonly_session() as db_sess:
                    started = perf_counter()
                    await fetch_rows(db_sess, search.statement, *search.parameters)
                    taken.append(perf_counter() - started)
        # then
        first, deep = (median(taken) for taken in times.values())
        print(f"\npage 1: {first * 1000:.2f} ms, page {DEEP}: {deep * 1000:.2f} ms")
        assert deep <= 2 * first

    async def test_no_statement_reads_a_table_from_end_to_end(self, engine: ExtendedAsyncSAEngine) -> None:
        # given
        one = session_id(1)
        statements: dict[Statement, tuple[object, ...]] = {
            session_source.SESSION_BY_ID: (one,),
            session_source.SESSION_INFO: (one,),
            session_source.SESSION_DEPENDENCIES: (one,),
            session_source.SESSION_DEPENDANTS: (one,),
            session_source.COUNT_ACTIVE_SESSIONS: (GROUP,),
            creation.CREATION_REFERENCES: ([GROUP], [ACCESS_KEY], [PROJECT], []),
            kernel.KERNEL_BY_ID: (kernel_id(1),),
            kernel.KERNELS_OF_SESSION: (one,),
            kernel.KERNELS_ON_AGENT: ("agent", None, PAGE),
            vfolder.SESSION_MOUNTS: (one,),
            history.SESSION_HISTORY: (one,),
            history.AGENT_HISTORY: ("agent", PAGE),
            history.AGENT_HISTORY_BY_TIME: (None, None, None, None, PAGE),
        }
        for statement, parameters in statements.items():
            for mode in ("force_custom_plan", "force_generic_plan"):
                async with engine.begin_session() as db_sess:
                    driver = driver_connection(db_sess)
                    await driver.execute(f"SET LOCAL plan_cache_mode = {mode}")
                    # when
                    (answer,) = await driver.fetchval(
                        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}", *parameters
                    )
                # then
                plan = answer["Plan"]
                assert not sequential_scans(plan) & {*LARGE_TABLES, "agent_history"}, statement.name
                assert blocks(plan) < 1_000, statement.name
