"""What SchedulingData is made of, what a read costs, and that it is of one instant and only reads."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import NamedTuple, Optional
from uuid import UUID

import msgspec
import pytest
import sqlalchemy as sa

from scheduler_repo.database import locks, lookups
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession, driver_connection
from scheduler_repo.database.sql_files import SQL_ROOT
from scheduler_repo.database.statements import Statement, load_statement
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.errors import DatabaseReadOnly
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler import db_source as reading
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.scheduling.snapshot import rows as raw
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.workload.synthetic import DEFAULT_SCALING_GROUP, synthetic_cluster, synthetic_queue
from tests.support.databases import DriverConnection
from tests.support.past_and_present import run_sessions

QUERY_FILES = sorted((SQL_ROOT / "queries").glob("*/*.sql"))
ROW_TYPES: dict[Statement, type[NamedTuple]] = {
    lookups.SNAPSHOT: raw.SnapshotRow,
    lookups.SCALING_GROUP: raw.GroupOptionsRow,
    lookups.SLOT_TYPES: raw.IndexedSlotTypeRow,
    reading.PENDING_SESSIONS: raw.PendingSessionRow,
    lookups.PENDING_KERNELS: raw.PendingKernelRow,
    lookups.PENDING_DEPENDENCIES: raw.PendingDependencyRow,
    reading.SCHEDULABLE_AGENTS: raw.SchedulableAgentRow,
    reading.SCHEDULABLE_AGENT_SLOTS: raw.SchedulableAgentSlotRow,
    lookups.RESERVATIONS: raw.ReservedKernelRow,
    reading.PREEMPTION_CANDIDATES: raw.PreemptionCandidateRow,
    lookups.OWNERS: raw.OwnerRow,
}
# Of these only the first columns are such rows; what the lock says besides follows.
LOCKED_ROW_TYPES: dict[Statement, type[NamedTuple]] = {
    locks.LOCK_SESSIONS: raw.PendingSessionRow,
    locks.LOCK_AGENTS: raw.SchedulableAgentRow,
    locks.LOCK_AGENT_SLOTS: raw.SchedulableAgentSlotRow,
}
TURN_PREEMPTION_ON = """
UPDATE scaling_groups SET preemption_scope = 'GROUP';
UPDATE sessions SET priority = -1 WHERE status = 'RUNNING';
"""
RESERVE_FOR_ONE = """
INSERT INTO reservations (session_id, scaling_group)
SELECT id, scaling_group FROM sessions WHERE status = 'PENDING' ORDER BY id LIMIT 1;
INSERT INTO kernel_reservations (kernel_id, session_id, agent_id)
SELECT k.id, r.session_id, (SELECT min(id) FROM agents)
FROM reservations AS r JOIN kernels AS k ON k.session_id = r.session_id;
"""
SCALARS = (bool, int, str, UUID, datetime, timedelta, type(None))


def walk(value: object) -> Iterator[object]:
    """A value and all that is in it."""
    yield value
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from walk(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from walk(item)


@asynccontextmanager
async def queries_of(engine: ExtendedAsyncSAEngine) -> AsyncIterator[list[str]]:
    """The text of every query that the engine's most recent connection sends meanwhile."""
    queries: list[str] = []
    async with engine.begin_readonly_session() as db_sess:
        connection = driver_connection(db_sess)
    with connection.query_logger(lambda record: queries.append(record.query)):
        yield queries
    # Else another connection of the pool answered.
    assert queries


class TestImmutability:
    @pytest.fixture
    async def data(
        self,
        engine: ExtendedAsyncSAEngine,
        db_source: SchedulerDBSource,
        owner_connection: DriverConnection,
    ) -> SchedulingData:
        """A queue with every feature, partly running and reserved, so that nothing in the answer is empty."""
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(synthetic_cluster(20, 400, seed=3))
        await run_sessions(owner_connection, 50)
        await owner_connection.execute(TURN_PREEMPTION_ON)
        await owner_connection.execute(RESERVE_FOR_ONE)
        return (await db_source.get_scheduling_data(DEFAULT_SCALING_GROUP)).data

    async def test_only_frozen_structs_tuples_and_scalars(self, data: SchedulingData) -> None:
        # when
        values = list(walk(data))
        # then
        assert len({type(value) for value in values}) > 12
        for value in values:
            if isinstance(value, msgspec.Struct):
                assert value.__struct_config__.frozen, type(value)
            else:
                assert type(value) is tuple or isinstance(value, SCALARS), type(value)

    async def test_whole_answer_can_be_hashed(self, data: SchedulingData) -> None:
        # when / then
        assert hash(data) == hash(msgspec.structs.replace(data))

    async def test_nothing_can_be_written_through(self, data: SchedulingData) -> None:
        # given
        structs = {type(value): value for value in walk(data) if isinstance(value, msgspec.Struct)}
        assert len(structs) == 15
        for value in structs.values():
            for field in msgspec.structs.fields(value):
                # when / then
                with pytest.raises(AttributeError):
                    setattr(value, field.name, None)


class TestStatements:
    async def test_every_tick_statement_has_a_row_type(self) -> None:
        # when / then
        assert tuple(ROW_TYPES) == reading.TICK_STATEMENTS

    async def test_columns_stand_in_the_order_of_the_fields(self, owner_connection: DriverConnection) -> None:
        for statement, row_type in ROW_TYPES.items():
            # when
            prepared = await owner_connection.prepare(statement.text)
            # then
            columns = tuple(attribute.name for attribute in prepared.get_attributes())
            assert columns == row_type._fields, statement.name

    async def test_columns_of_the_locking_statements(self, owner_connection: DriverConnection) -> None:
        for statement, row_type in LOCKED_ROW_TYPES.items():
            # when
            prepared = await owner_connection.prepare(statement.text)
            # then
            columns = tuple(attribute.name for attribute in prepared.get_attributes())
            assert columns[: len(row_type._fields)] == row_type._fields, statement.name

    @pytest.mark.parametrize("name", [f"{path.parent.name}/{path.stem}" for path in QUERY_FILES])
    def test_every_file_opens_with_what_parameters_and_index(self, name: str) -> None:
        # when
        lines = load_statement(name).text.splitlines()
        header = lines[: next(i for i, line in enumerate(lines) if not line.startswith("--"))]
        # then
        assert header
        assert len(header[0]) > len("-- what it answers")
        assert "Parameters:" in " ".join(header)
        assert "Index:" in " ".join(header)

    async def test_number_is_constant(
        self, engine: ExtendedAsyncSAEngine, db_source: SchedulerDBSource
    ) -> None:
        # given
        small, large = ScalingGroupName("small"), ScalingGroupName("large")
        repository = ClusterRepository(ClusterDBSource(engine))
        await repository.load_cluster(synthetic_queue(1, 1, 1, scaling_group=small))
        await repository.load_cluster(synthetic_queue(150, 600, 900, scaling_group=large))
        for group, limit in ((small, None), (large, None), (small, 500), (large, 500)):
            # when
            async with queries_of(engine) as queries:
                data = (await db_source.get_scheduling_data(group, limit)).data
            # then
            assert queries[0].startswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;")
            assert queries[-1] == "COMMIT"
            assert sorted(queries[1:-1]) == sorted(statement.text for statement in reading.TICK_STATEMENTS)
        assert len(data.access_keys) > 100
        assert len(data.agents) == 150


class TestOneSnapshot:
    async def test_observed_at_and_snapshot_are_of_the_read(
        self, db_source: SchedulerDBSource, owner_connection: DriverConnection
    ) -> None:
        # given
        await owner_connection.execute("INSERT INTO scaling_groups (name) VALUES ('gpu')")
        now = "SELECT clock_timestamp(), pg_current_snapshot()::text"
        before = await owner_connection.fetchrow(now)
        # when
        data = (await db_source.get_scheduling_data(ScalingGroupName("gpu"))).data
        # then
        after = await owner_connection.fetchrow(now)
        assert before[0] < data.observed_at < after[0]
        ordered = await owner_connection.fetchval(
            "SELECT pg_snapshot_xmax($1::text::pg_snapshot) <= pg_snapshot_xmax($2::text::pg_snapshot)"
            " AND pg_snapshot_xmax($2::text::pg_snapshot) <= pg_snapshot_xmax($3::text::pg_snapshot)",
            before[1],
            data.token.snapshot,
            after[1],
        )
        assert ordered

    async def test_what_is_committed_after_the_first_statement_is_not_seen(
        self, engine: ExtendedAsyncSAEngine, owner_connection: DriverConnection
    ) -> None:
        # given
        group = ScalingGroupName("gpu")
        await owner_connection.execute("INSERT INTO scaling_groups (name) VALUES ('gpu')")
        async with engine.begin_readonly_session() as db_sess:
            before = await SchedulerDBSource(engine).fetch_raw_scheduling_data(db_sess, group, None)
            # when
            await owner_connection.execute("INSERT INTO slot_types (name, slot_index) VALUES ('cpu', 0)")
            # then
            after = await SchedulerDBSource(engine).fetch_raw_scheduling_data(db_sess, group, None)
        assert (before.surroundings.slot_types, after.surroundings.slot_types) == ((), ())
        assert before.snapshot["snapshot"] == after.snapshot["snapshot"]  # type: ignore[call-overload]


class TestReadOnly:
    WRITE = "UPDATE scaling_groups SET is_active = false"

    @pytest.fixture
    async def group(self, owner_connection: DriverConnection) -> None:
        await owner_connection.execute("INSERT INTO scaling_groups (name) VALUES ('gpu')")

    async def write_as_sqlalchemy(self, db_sess: SASession) -> None:
        await db_sess.execute(sa.text(self.WRITE))

    async def write_as_driver(self, db_sess: SASession) -> None:
        await driver_connection(db_sess).execute(self.WRITE)

    @pytest.mark.parametrize("through", ["sqlalchemy", "driver"])
    async def test_server_refuses_a_write(
        self,
        engine: ExtendedAsyncSAEngine,
        owner_connection: DriverConnection,
        group: None,
        through: str,
    ) -> None:
        # given
        write = {"sqlalchemy": self.write_as_sqlalchemy, "driver": self.write_as_driver}[through]
        refused: Optional[DatabaseReadOnly] = None
        # when
        try:
            async with engine.begin_readonly_session() as db_sess:
                await write(db_sess)
        except DatabaseReadOnly as error:
            refused = error
        # then
        assert refused is not None
        assert "25006" in str(refused)
        assert await owner_connection.fetchval("SELECT is_active FROM scaling_groups")
        async with engine.begin_session() as db_sess:
            await write(db_sess)
        assert not await owner_connection.fetchval("SELECT is_active FROM scaling_groups")
