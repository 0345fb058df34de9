"""However large amounts, counts and times are, as far as they can be stored, nothing fails for their sums."""

from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.sql_files import SQL_ROOT
from scheduler_repo.entities.allocation import RejectionCode
from scheduler_repo.entities.obstacles import OwnerBreach, QuotaBreach, QuotaKind
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.quota.db_source import QuotaDBSource
from scheduler_repo.repositories.quota.repository import QuotaRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.explain.reasons import waiting_reasons
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.snapshot.encoding import decode_scheduling_data, encode_scheduling_data
from scheduler_repo.steps import finish
from scheduler_repo.types import OperationId, OwnerScope
from tests.api.statement_table import CASES, Case, fill_table
from tests.api.world import World
from tests.support.databases import DriverConnection
from tests.support.extreme_rows import AGENTS, LARGEST, MOST, add_extreme_rows
from tests.support.fixtures import Load
from tests.support.small_cluster import (
    ACCESS_KEY,
    CPU,
    GROUP,
    OTHER_GROUP,
    agent,
    cluster,
    place,
    session,
    session_id,
)

fill_table()

STATEMENTS: Final = sorted(chain(SQL_ROOT.glob("queries/**/*.sql"), SQL_ROOT.glob("audit/*.sql")))
# A number, a time or an interval out of range; a limit of the server; a fault of it.
FAULTS: Final = ("22003", "22008", "22015", "54", "XX")
IDS: Final = [UUID(f"{kind:08d}-0000-0000-0000-{number:012d}") for kind in (7, 9) for number in (1, 2, 3, 4)]
KERNELS: Final = [UUID(f"{kind:08d}-0000-0000-0000-{number:012d}") for kind in (8, 10) for number in (10, 20)]


class TestEveryStatement:
    """Each file alone, with parameters as large as their types, on rows as large as theirs."""

    @pytest.mark.parametrize("texts", [[*AGENTS], [ACCESS_KEY, "lab"], ["cpu", "mem"], ["PENDING", "RUNNING"]])
    async def test_finds_nothing_out_of_range(
        self, engine: ExtendedAsyncSAEngine, owner_connection: DriverConnection, texts: list[str]
    ) -> None:
        await World(engine).settle()
        await add_extreme_rows(owner_connection)
        faults = {}
        for file in STATEMENTS:
            for scalar in (GROUP, texts[0]):
                fault = await self._run(owner_connection, file.read_text(encoding="utf-8"), scalar, texts)
                if fault is not None:
                    faults[file.name] = fault
        assert faults == {}

    async def _run(self, connection: DriverConnection, text: str, scalar: str, texts: list[str]) -> str | None:
        values = {
            "text": scalar,
            "text[]": texts,
            "uuid": IDS[0],
            "uuid[]": [*IDS, *KERNELS],
            "int2": 2**15 - 1,
            "int4": MOST,
            "int4[]": [MOST, 0, 1],
            "int8": LARGEST,
            "int8[]": [LARGEST, LARGEST, LARGEST],
            "bool": True,
            "bool[]": [True, False],
            "bytea": b"digest",
            "interval": timedelta.max,
            "timestamptz": datetime.max.replace(tzinfo=UTC),
            "timestamptz[]": [datetime.max.replace(tzinfo=UTC)],
        }
        transaction = connection.transaction()
        await transaction.start()
        try:
            statement = await connection.prepare(text)
            types = [each.name for each in statement.get_parameters()]
            rows = await statement.fetch(*(values[kind] for kind in types))
            assert all(tuple(row) for row in rows)
        except asyncpg.PostgresError as error:
            state = str(error.sqlstate)
            # A lease of 2.7 million years is refused before it comes to the statement.
            is_lease = "scheduler_leases" in text or "cutoff" in text
            return f"{state}: {error}" if state.startswith(FAULTS) and not is_lease else None
        finally:
            await transaction.rollback()
        return None


class TestEveryMethod:
    async def test_answers_beside_rows_as_large_as_they_can_be(
        self, engine: ExtendedAsyncSAEngine, owner_connection: DriverConnection
    ) -> None:
        world = World(engine)
        await world.settle()
        await add_extreme_rows(owner_connection)
        failed = {}
        for case in CASES.values():
            await world.recover()
            try:
                await self._call(case, world)
            except Exception as error:  # noqa: BLE001 - each failure is named below
                failed[case.label] = repr(error)
        assert failed == {}

    async def _call(self, case: Case, world: World) -> None:
        await (await case.prepare(world, 1))


class TestTwoSessionsOfOneOwner:
    """What was seen: each asks for 2^62, on agents that are as good as unlimited."""

    @pytest.fixture
    async def placed(self, load: Load, scheduler: SchedulerRepository) -> None:
        agents = [agent(name, cpu=LARGEST, mem=LARGEST) for name in ("a1", "a2")]
        other = agent("b1", scaling_group=OTHER_GROUP)
        large = [session(number, 2**62) for number in range(2)]
        small = [session(2, 1), session(3, 1, scaling_group=OTHER_GROUP)]
        await load(cluster([*agents, other], [*large, *small]))
        result = await scheduler.allocate_sessions(GROUP, [place(0, "a1"), place(1, "a2")])
        assert result.rejected == ()

    @pytest.mark.usefixtures("placed")
    async def test_every_group_goes_on(
        self, scheduler: SchedulerRepository, lifecycle: LifecycleRepository
    ) -> None:
        for group, number in ((GROUP, 2), (OTHER_GROUP, 3)):
            # when
            data = await scheduler.get_scheduling_data(group)
            result = await scheduler.allocate_sessions(group, BestFitPlanner().plan(data))
            # then
            assert data.access_keys[0].occupied[0] >= 2**63
            assert result.allocated == (session_id(number),)
            assert len(waiting_reasons(data)) == 1
            assert finish(decode_scheduling_data(finish(encode_scheduling_data(data)))) == data

    @pytest.mark.usefixtures("placed")
    async def test_usage_is_exact_and_a_breach_is_stored(
        self, engine: ExtendedAsyncSAEngine, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given so much in use that it has no place in 64 bits
        await owner_connection.execute(
            "UPDATE kernels SET occupied_slots = $1 WHERE status = 'SCHEDULED'",
            [LARGEST, 1, 0, 0, 0, 0, 0, 0, LARGEST],
        )
        await owner_connection.execute(
            "INSERT INTO kernels SELECT gen_random_uuid(), session_id, kernel_index + n, scaling_group, "
            "access_key, user_id, project_id, domain_name, image, architecture, status, agent_id, "
            "requested_slots, occupied_slots FROM kernels, generate_series(1, 2) AS n "
            "WHERE status = 'SCHEDULED'"
        )
        quotas = QuotaRepository(QuotaDBSource(engine))
        limited = QuotaSpec(scope=OwnerScope.ACCESS_KEY, owner_id=ACCESS_KEY, slot_limits={CPU: LARGEST})
        await quotas.set_quotas([limited])
        operation_id = OperationId(uuid4())
        # when
        usage = await quotas.get_usage(OwnerScope.ACCESS_KEY, ACCESS_KEY)
        first = await scheduler.allocate_sessions(GROUP, [place(2, "a1")], operation_id=operation_id)
        again = await scheduler.allocate_sessions(GROUP, [place(2, "a1")], operation_id=operation_id)
        # then
        assert usage.occupied == (6 * LARGEST, 6, 0, 0, 0, 0, 0, 0, 6 * LARGEST)
        (rejected,) = first.rejected
        assert rejected.code is RejectionCode.OWNER_LIMIT
        breach = QuotaBreach(QuotaKind.SLOT, 0, 6 * LARGEST, 1, LARGEST)
        assert rejected.detail == OwnerBreach(OwnerScope.ACCESS_KEY, ACCESS_KEY, breach)
        assert again == first
