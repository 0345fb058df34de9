"""No statement of the layer reads sessions, kernels or history from end to end, as the methods really send it.

Every method of the statement table is called on a database with a long past; each statement that the driver
sends is then explained with the parameters that it was sent with.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import msgspec
import pytest
from asyncpg.connection import LoggedQuery

from scheduler_repo.database.engine import create_engine, driver_connection
from scheduler_repo.database.sql_files import SQL_ROOT
from scheduler_repo.errors import LeaseHeld
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.tracker import SnapshotTracker
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import AgentId, LeaseHolder, OperationId
from tests.api.statement_table import CASES, fill_table
from tests.api.world import LARGE, World
from tests.support.databases import OWNER, Database, DriverConnection
from tests.support.past_and_present import finish_sessions
from tests.support.plans import sequential_scans
from tests.support.small_cluster import CLOSED_GROUP, OTHER_GROUP, session, session_id

fill_table()

FINISHED: Final = 6_000
PENDING: Final = 200
RUNNING: Final = 200
BATCH: Final = 5
LARGE_TABLES: Final = {"sessions", "kernels", "session_dependencies", "session_history", "agent_history"}
EXPLAINED: Final = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
# A purge reads what is old, which may be most of what there is: tests/retention holds its plans.
PURGES: Final = {file.stem for file in (SQL_ROOT / "queries" / "retention").glob("*.sql")}
# The one statement that only a second try sends reads what is locked, and no table: tests/locks runs it.
ELSEWHERE: Final = PURGES | {"find_quota_additions"}

Sent = dict[str, tuple[object, ...]]


def words(text: str) -> str:
    """A statement without its comments, its first word in capitals."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return "\n".join(lines).strip()


class TestHotPlans:
    @pytest.fixture
    async def world(self, migrated_database: Database) -> AsyncIterator[World]:
        """A cluster with a long past, as the planner knows."""
        url = SecretUrl(migrated_database.url_as(OWNER))
        engine = create_engine(DatabaseSettings(url=url, pool_size=1))
        world = World(engine)
        await world.settle()
        await world.pending(PENDING)
        await world.running(RUNNING)
        async with migrated_database.driver_as(OWNER) as owner:
            await finish_sessions(owner, FINISHED)
            await owner.execute(
                "INSERT INTO agent_history (agent_id, to_status) "
                f"SELECT 'agent-0', 'ALIVE' FROM generate_series(1, {FINISHED})"
            )
            await owner.execute("ANALYZE")
        yield world
        await engine.dispose()

    async def sent_by_all(self, world: World) -> Sent:
        """What every method of the table sends, with the parameters of the last time."""
        sent: Sent = {}
        async with world.engine.begin_readonly_session() as db_sess:
            driver = driver_connection(db_sess)

        def note(query: LoggedQuery) -> None:
            sent[query.query] = tuple(query.args or ())

        for case in CASES.values():
            await world.recover()
            call = await case.prepare(world, BATCH)
            with driver.query_logger(note):
                await call
        await world.recover()
        with driver.query_logger(note):
            await self.rare_calls(world)
        return sent

    async def rare_calls(self, world: World) -> None:
        """What the table's calls do not send: leases, a write asked for again, an id in use."""
        leases, sessions = (
            LeaseRepository(LeaseDBSource(world.engine)),
            SessionRepository(SessionDBSource(world.engine)),
        )
        lease = await leases.acquire_lease(OTHER_GROUP, LeaseHolder("one"), timedelta(seconds=30))
        with pytest.raises(LeaseHeld):
            await leases.acquire_lease(OTHER_GROUP, LeaseHolder("two"), timedelta(seconds=30))
        await LifecycleRepository(LifecycleDBSource(world.engine)).sweep_pending_sessions(
            OTHER_GROUP, 1, lease=lease
        )
        number, other = world.numbers(2)
        operation_id = OperationId(uuid4())
        for _ in range(2):
            await sessions.enqueue_sessions([session(number, 1)], operation_id=operation_id)
        await self.refreshes(world)
        taken = msgspec.structs.replace(session(other, 1), kernels=session(number, 1).kernels)
        assert (await sessions.create_sessions([taken])).created == ()

    async def refreshes(self, world: World) -> None:
        """What brings a group up to date in which a session waits for another, and an agent has changed."""
        number, other = world.numbers(2)
        source = SchedulerDBSource(world.engine)
        tracker = SnapshotTracker(source)
        await tracker.get_scheduling_data(CLOSED_GROUP)
        waiting = session(number, 1, scaling_group=CLOSED_GROUP, depends_on=(session_id(other),))
        first = session(other, 1, scaling_group=CLOSED_GROUP)
        sessions = SessionRepository(SessionDBSource(world.engine))
        assert len(await sessions.enqueue_sessions([first, waiting])) == 2
        await AgentRepository(AgentDBSource(world.engine)).set_agents_schedulable([AgentId(LARGE)], False)
        assert (await tracker.get_scheduling_data(CLOSED_GROUP)).changes
        await source.renew_server_life()

    async def plan(self, driver: DriverConnection, text: str, values: tuple[object, ...]) -> dict[str, Any]:
        """The plan of a statement with these parameters."""
        (answer,) = await driver.fetchval(f"EXPLAIN (FORMAT JSON) {text}", *values)
        plan: dict[str, Any] = answer["Plan"]
        return plan

    async def test_no_statement_reads_what_grows_from_end_to_end(self, world: World) -> None:
        # given
        sent = await self.sent_by_all(world)
        names = {file.read_text(encoding="utf-8"): file.stem for file in (SQL_ROOT / "queries").glob("*/*.sql")}
        # when
        scans: dict[str, set[str]] = {}
        async with world.engine.begin_session() as db_sess:
            driver = driver_connection(db_sess)
            for text, values in sent.items():
                if words(text).upper().startswith(EXPLAINED):
                    found = sequential_scans(await self.plan(driver, text, values)) & LARGE_TABLES
                    scans[names.get(text, text)] = found
        # then
        assert {name: found for name, found in scans.items() if found and name not in ELSEWHERE} == {}
        # and every hot statement was among them
        assert set(names.values()) - scans.keys() - ELSEWHERE == set()
