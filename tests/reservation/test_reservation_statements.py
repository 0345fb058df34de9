"""What a reservation costs, whatever its size, and that the rows are what the structs take them for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.repositories.reservation import db_source as reserving
from scheduler_repo.scheduling.admission.reservations import KernelClaim
from tests.reservation.contest import Contest, hold, important
from tests.support.databases import DriverConnection
from tests.support.small_cluster import GROUP, agent, place, session, session_id

RESERVE = 19
RELEASE = 4
ALLOCATE = 17
READ = 11


@asynccontextmanager
async def queries_of(engine: ExtendedAsyncSAEngine) -> AsyncIterator[list[str]]:
    """Every query that the engine's most recent connection sends meanwhile, without BEGIN and COMMIT."""
    queries: list[str] = []
    async with engine.begin_readonly_session() as db_sess:
        connection = driver_connection(db_sess)
    with connection.query_logger(lambda record: queries.append(record.query)):
        yield queries
    # Else another connection of the pool answered.
    assert queries[0].startswith("BEGIN")
    assert queries.pop() == "COMMIT"
    del queries[0]


class TestStatements:
    @pytest.mark.parametrize("size", [1, 100])
    async def test_number_is_constant(self, contest: Contest, engine: ExtendedAsyncSAEngine, size: int) -> None:
        # given: each has a victim of its own, on its own agent
        agents = [agent(f"agent-{number}", cpu=4) for number in range(size)]
        victims = [important(session(number, 2, 2), 1) for number in range(size)]
        waiting = [important(session(1_000 + number, 3)) for number in range(size)]
        names = [each.agent_id for each in agents]
        runs = {number: (name, name) for number, name in enumerate(names)}
        await contest.given(agents, [*victims, *waiting], runs)
        # when
        async with queries_of(engine) as reading:
            data = await contest.read()
        batch = [hold(1_000 + number, name, victims=[number]) for number, name in enumerate(names)]
        async with queries_of(engine) as reserving_queries:
            result = await contest.reserve(*batch)
        await contest.end(*range(size))
        async with queries_of(engine) as reading_holds:
            held = await contest.read()
        async with queries_of(engine) as allocating:
            allocated = await contest.allocate(*(place(1_000 + each, name) for each, name in enumerate(names)))
        async with queries_of(engine) as releasing:
            await contest.reservations.release_reservations([session_id(1_000 + each) for each in range(size)])
        # then
        assert len(data.preemption_candidates) == len(result.reserved) == len(held.reservations) == size
        assert len(allocated.allocated) == size
        assert len(reading) == len(reading_holds) == READ
        assert len(reserving_queries) == RESERVE
        assert len(allocating) == ALLOCATE
        assert len(releasing) == RELEASE
        assert data.scaling_group.name == GROUP

    async def test_columns_stand_in_the_order_of_the_fields(self, owner_connection: DriverConnection) -> None:
        for statement in (reserving.ENDING_KERNELS, reserving.OWNER_RESERVATIONS):
            # when
            prepared = await owner_connection.prepare(statement.text)
            # then
            columns = tuple(attribute.name for attribute in prepared.get_attributes())
            assert columns == KernelClaim.__struct_fields__, statement.name
