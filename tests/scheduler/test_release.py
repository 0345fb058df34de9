"""What sessions hold is given back whole, and batches of any size cost the same number of statements."""

from typing import Optional

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.entities.lifecycle import (
    RejectedTransition,
    SessionEnd,
    TransitionRejectionCode,
    TransitionResult,
)
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import AgentId, SessionId, SessionResult, SessionStatus
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import (
    GROUP,
    Ledger,
    agent,
    cluster,
    held_on,
    history_of,
    ledger_of,
    place,
    session,
    session_id,
    status_of,
)

A1, A2 = AgentId("a1"), AgentId("a2")
EMPTY = Ledger(0, 0, 0)


def ends(*numbers: int) -> list[SessionEnd]:
    return [SessionEnd(session_id(number)) for number in numbers]


def drifted_of(result: TransitionResult) -> list[tuple[SessionId, Optional[AgentId]]]:
    """The sessions left as they are for their agent's counters, and the agent."""
    assert {each.code for each in result.rejected} == {TransitionRejectionCode.LEDGER_DRIFT}
    return [(each.session_id, each.agent_id) for each in result.rejected]


class TestRelease:
    async def test_everything_is_given_back(
        self,
        load: Load,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
        owner_connection: DriverConnection,
    ) -> None:
        # given
        await load(cluster([agent(A1), agent(A2)], [session(1, 2, 3), session(2, 4), session(3, 1)]))
        await scheduler.allocate_sessions(GROUP, [place(1, A1, A2), place(2, A1), place(3, A1)])
        # when
        released = await lifecycle.mark_terminated(
            [SessionEnd(session_id(number), SessionResult.FAILURE) for number in (2, 1)]
        )
        # then
        assert (released.changed, released.rejected) == ((session_id(2), session_id(1)), ())
        assert await ledger_of(owner_connection, A1) == await held_on(owner_connection, A1) == Ledger(1, 1, 1)
        assert await ledger_of(owner_connection, A2) == EMPTY
        assert await status_of(owner_connection, 1) == ("TERMINATED", {"TERMINATED"})
        assert (await history_of(owner_connection, 2))[-1] == ("SCHEDULED", "TERMINATED")
        results = await owner_connection.fetch("SELECT result FROM sessions ORDER BY id")
        assert [row["result"] for row in results] == ["FAILURE", "FAILURE", None]

    async def test_an_agent_whose_ledger_has_drifted_costs_only_its_own_sessions(
        self,
        load: Load,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
        owner_connection: DriverConnection,
    ) -> None:
        # given counters of one agent that are below what its kernels hold
        await load(cluster([agent(A1), agent(A2)], [session(1, 1), session(2, 2), session(3, 1, 1)]))
        await scheduler.allocate_sessions(GROUP, [place(1, A1), place(2, A2), place(3, A2, A1)])
        await owner_connection.execute("UPDATE agent_slots SET occupied = 0 WHERE agent_id = 'a1'")
        # when
        result = await lifecycle.mark_terminated(ends(1, 2, 3))
        # then only the session on the other agent has ended, and nothing was clamped
        assert result.changed == (session_id(2),)
        assert drifted_of(result) == [(session_id(1), A1), (session_id(3), A1)]
        assert await status_of(owner_connection, 3) == ("SCHEDULED", {"SCHEDULED"})
        assert await ledger_of(owner_connection, A2) == await held_on(owner_connection, A2)
        # when the slot row is gone altogether
        await owner_connection.execute("DELETE FROM agent_slots WHERE agent_id = 'a2'")
        result = await lifecycle.mark_terminated(ends(3))
        # then that is said too
        assert drifted_of(result) == [(session_id(3), A2)]

    async def test_what_holds_nothing_is_rejected_with_its_status(
        self,
        load: Load,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
        owner_connection: DriverConnection,
    ) -> None:
        # given
        await load(cluster([agent(A1)], [session(1, 1), session(2, 1), session(3, 1)]))
        await scheduler.allocate_sessions(GROUP, [place(1, A1), place(2, A1)])
        await lifecycle.mark_terminated(ends(2))
        # when
        result = await lifecycle.mark_terminated(ends(4, 3, 2, 1))
        # then
        assert result.changed == (session_id(1),)
        assert [(each.session_id, each.code, each.status) for each in result.rejected] == [
            (session_id(4), TransitionRejectionCode.SESSION_UNKNOWN, None),
            (session_id(3), TransitionRejectionCode.NOT_ALLOWED, SessionStatus.PENDING),
            (session_id(2), TransitionRejectionCode.NOT_ALLOWED, SessionStatus.TERMINATED),
        ]
        assert await ledger_of(owner_connection, A1) == EMPTY

    async def test_session_named_twice_is_released_once(
        self,
        load: Load,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
        owner_connection: DriverConnection,
    ) -> None:
        # given
        await load(cluster([agent(A1)], [session(1, 3), session(2, 3)]))
        await scheduler.allocate_sessions(GROUP, [place(1, A1), place(2, A1)])
        # when
        result = await lifecycle.mark_terminated(ends(1, 1))
        # then
        assert result.changed == (session_id(1),)
        assert result.rejected == (RejectedTransition(session_id(1), TransitionRejectionCode.DUPLICATE),)
        assert await ledger_of(owner_connection, A1) == Ledger(3, 1, 1)


class TestStatements:
    async def test_number_is_the_same_for_one_and_for_a_thousand(
        self,
        load: Load,
        engine: ExtendedAsyncSAEngine,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
    ) -> None:
        # given
        agents = [agent(f"a{number}", cpu=20) for number in range(100)]
        await load(cluster(agents, [session(number, 1) for number in range(1_002)]))
        batches = [[1_001], [1_000], list(range(1_000))]
        counts: list[tuple[int, int]] = []
        for numbers in batches:
            queries: list[str] = []
            async with engine.begin_readonly_session() as db_sess:
                driver = driver_connection(db_sess)
            # when
            with driver.query_logger(lambda record, queries=queries: queries.append(record.query)):
                placed = await scheduler.allocate_sessions(GROUP, [place(n, f"a{n % 100}") for n in numbers])
                after_placing = len(queries)
                released = await lifecycle.mark_terminated(ends(*numbers))
            counts.append((after_placing, len(queries) - after_placing))
            # then
            assert len(placed.allocated) == len(released.changed) == len(numbers)
        # then: with BEGIN and COMMIT; the driver itself asks for types on the connection's first batch
        assert counts[1:] == [(19, 12), (19, 12)]
