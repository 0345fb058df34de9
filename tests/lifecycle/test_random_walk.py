"""Whatever is done with sessions, in whatever order, the database is where a model of it says."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, Optional

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from scheduler_repo.database.engine import create_engine
from scheduler_repo.entities.allocation import AllocationResult
from scheduler_repo.entities.lifecycle import (
    SessionAttempt,
    SessionEnd,
    SessionRetry,
    SessionStart,
    TransitionResult,
)
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.transitions import SESSION_TRANSITIONS, is_allowed
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import AgentId, OwnerScope, SessionResult, SessionStatus
from tests.lifecycle.life_model import Amounts, LifeModel, ModelAgent, Outcome
from tests.lifecycle.marking import mark
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection
from tests.support.lives import leaks
from tests.support.small_cluster import (
    CPU,
    GROUP,
    MEM,
    OWNER_IDS,
    agent,
    cluster,
    kernel_id,
    place,
    session,
    session_id,
)

AGENTS: Final = {
    "a1": ModelAgent((8, 5)),
    "a2": ModelAgent((6, 9)),
    "a3": ModelAgent((9, 9), max_containers=4),
}
# Cores per kernel of each session.
REQUESTS: Final[tuple[tuple[int, ...], ...]] = (
    *((1,), (2, 3), (4,), (1, 1, 1), (3, 2, 0), (0,), (2, 2), (5,)),
    *((0, 1), (1, 4), (2,), (3,), (1, 1), (2, 1, 2), (0, 0, 0), (7,)),
)
UNKNOWN: Final = len(REQUESTS)
CORE_LIMIT: Final = 17
SESSION_LIMIT: Final = 6

ENDS: Final = (
    SessionStatus.TERMINATING,
    SessionStatus.TERMINATED,
    SessionStatus.CANCELLED,
    SessionStatus.ERROR,
)

# All as it was when the cluster was loaded.
AT_FIRST: Final = """
UPDATE sessions SET status = 'PENDING', result = NULL, retry_count = 0, failed_agent_ids = '{}',
    dispatched_at = NULL, status_changed_at = now();
UPDATE kernels SET status = 'PENDING', agent_id = NULL, occupied_slots = '{}', exit_code = NULL;
UPDATE agents SET container_count = 0;
UPDATE agent_slots SET occupied = 0;
DELETE FROM session_history WHERE from_status IS NOT NULL;
DELETE FROM operations
"""

# A session by its number, or (odd) one of those that may be moved as asked: else few would come far.
numbers = st.integers(0, 2 * UNKNOWN + 1)
many = st.lists(numbers, min_size=4, max_size=12)
few = st.lists(numbers, min_size=1, max_size=3)
agents = st.sampled_from(sorted(AGENTS))
on_agents = st.tuples(numbers, st.tuples(agents, agents, agents))
# What kernels occupy, by their index; the largest number stands for more than was requested.
MORE: Final = 15
amounts = st.dictionaries(st.integers(0, 2), st.tuples(st.integers(0, MORE), st.integers(0, 1)), max_size=3)


class World:
    """A database with the cluster, and all that is done with it, one after the other."""

    def __init__(self, runner: asyncio.Runner, database: Database, connection: DriverConnection) -> None:
        self.runner = runner
        self.connection = connection
        self.engine = create_engine(DatabaseSettings(url=SecretUrl(database.url_as(SCHEDULER)), pool_size=1))
        self.scheduler = SchedulerRepository(SchedulerDBSource(self.engine))
        self.repository = LifecycleRepository(LifecycleDBSource(self.engine))
        self.walked: set[tuple[str, str]] = set()
        self.steps = 0

    async def load(self) -> None:
        specs = [
            agent(name, cpu=each.capacity[0], mem=each.capacity[1], max_containers=each.max_containers)
            for name, each in AGENTS.items()
        ]
        quotas = [
            QuotaSpec(
                scope=OwnerScope.PROJECT,
                owner_id=OWNER_IDS[OwnerScope.PROJECT],
                slot_limits={CPU: CORE_LIMIT},
                max_concurrent_sessions=SESSION_LIMIT,
            )
        ]
        sessions = [session(number, *cores) for number, cores in enumerate(REQUESTS)]
        load = ClusterRepository(ClusterDBSource(self.engine)).load_cluster
        await load(cluster(specs, sessions, quotas))
        await self.connection.execute("UPDATE scaling_groups SET pending_timeout = interval '1 hour'")


@pytest.fixture
def world(migrated_database: Database) -> Iterator[World]:
    with asyncio.Runner() as runner:
        opening = migrated_database.driver_as(OWNER)
        made = World(runner, migrated_database, runner.run(opening.__aenter__()))
        runner.run(made.load())
        yield made
        runner.run(made.engine.dispose())
        runner.run(opening.__aexit__(None, None, None))


class LifeMachine(RuleBasedStateMachine):
    """Random steps on a world that starts anew."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.model = LifeModel(AGENTS, REQUESTS, core_limit=CORE_LIMIT, session_limit=SESSION_LIMIT)
        world.runner.run(world.connection.execute(AT_FIRST))

    @initialize(order=st.permutations(range(UNKNOWN)), on=st.tuples(agents, agents, agents))
    def some_are_on_their_way(self, order: list[int], on: tuple[str, ...]) -> None:
        self.allocate([(2 * number, on) for number in order])
        placed = [number for number in order if self.model.sessions[number].status is SessionStatus.SCHEDULED]
        self.prepare([2 * number for number in placed[1:]])
        self.run([(2 * number, {0: (MORE - 1, 1)}) for number in placed[2:]])

    @rule(placements=st.lists(on_agents, min_size=3, max_size=10))
    def allocate(self, placements: list[tuple[int, tuple[str, ...]]]) -> None:
        chosen = self.choose(SessionStatus.SCHEDULED, [number for number, _ in placements])
        fitting = [
            (number, names[: self.kernel_count(number)])
            for number, (_, names) in zip(chosen, placements, strict=True)
        ]
        expected = self.model.allocate(fitting)
        batch = [place(number, *names) for number, names in fitting]
        answer = self.world.runner.run(self.world.scheduler.allocate_sessions(GROUP, batch))
        self.compare(answer, answer.allocated, expected)

    @rule(batch=many)
    def prepare(self, batch: list[int]) -> None:
        self.mark(SessionStatus.PREPARING, batch)

    @rule(batch=st.lists(st.tuples(numbers, amounts), min_size=4, max_size=12))
    def run(self, batch: list[tuple[int, dict[int, Amounts]]]) -> None:
        chosen = self.choose(SessionStatus.RUNNING, [number for number, _ in batch])
        cut = [
            (number, self.of_its_kernels(number, occupied))
            for number, (_, occupied) in zip(chosen, batch, strict=True)
        ]
        expected = self.model.run(cut)
        starts = [
            SessionStart(
                session_id(number),
                {kernel_id(number, index): {CPU: cpu, MEM: mem} for index, (cpu, mem) in occupied.items()},
            )
            for number, occupied in cut
        ]
        answer = self.world.runner.run(self.world.repository.mark_running(starts))
        self.compare(answer, answer.changed, expected)

    @rule(batch=few, to_status=st.sampled_from(ENDS), result=st.sampled_from([None, *SessionResult]))
    def end(self, batch: list[int], to_status: SessionStatus, result: Optional[SessionResult]) -> None:
        if to_status is not SessionStatus.TERMINATED:
            self.mark(to_status, batch)
            return
        chosen = self.choose(to_status, batch)
        expected = self.model.mark(to_status, chosen, result)
        ends = [SessionEnd(session_id(number), result) for number in chosen]
        answer = self.world.runner.run(self.world.repository.mark_terminated(ends))
        self.compare(answer, answer.changed, expected)

    @rule(batch=st.lists(st.tuples(numbers, st.lists(agents, max_size=2)), min_size=1, max_size=4))
    def requeue(self, batch: list[tuple[int, list[str]]]) -> None:
        chosen = self.choose(SessionStatus.PENDING, [number for number, _ in batch])
        batch = [(number, failed) for number, (_, failed) in zip(chosen, batch, strict=True)]
        expected = self.model.requeue(batch)
        retries = [
            SessionRetry(session_id(number), tuple(AgentId(name) for name in failed))
            for number, failed in batch
        ]
        answer = self.world.runner.run(self.world.repository.requeue_sessions(retries))
        self.compare(answer, answer.changed, expected)

    @rule(aged=few, limit=st.integers(1, 3))
    def sweep(self, aged: list[int], limit: int) -> None:
        chosen = self.choose(SessionStatus.SCHEDULED, aged)
        for number in chosen:
            if number != UNKNOWN:
                self.model.sessions[number].is_old = True
        ids = [session_id(number) for number in chosen]
        aging = "UPDATE sessions SET status_changed_at = now() - interval '2 hours' WHERE id = ANY ($1)"
        self.world.runner.run(self.world.connection.execute(aging, ids))
        expected = self.model.sweep(limit)
        answer = self.world.runner.run(self.world.repository.sweep_pending_sessions(GROUP, limit))
        self.compare(answer, answer.changed, expected)

    @rule(attempts=st.lists(st.tuples(numbers, st.integers(0, 2)), min_size=1, max_size=6))
    def dispatch(self, attempts: list[tuple[int, int]]) -> None:
        chosen = self.choose(SessionStatus.PREPARING, [number for number, _ in attempts])
        attempts = [(number, retry_count) for number, (_, retry_count) in zip(chosen, attempts, strict=True)]
        expected = self.model.dispatch(attempts)
        dispatches = [SessionAttempt(session_id(number), retry_count) for number, retry_count in attempts]
        answer = self.world.runner.run(self.world.repository.mark_dispatched(dispatches))
        assert answer.dispatched == tuple(session_id(number) for number in expected.changed)
        assert answer.rejected == tuple(session_id(number) for number, _ in expected.rejected)

    def choose(self, to_status: SessionStatus, drawn: Sequence[int]) -> list[int]:
        movable = [
            number
            for number, each in enumerate(self.model.sessions)
            if is_allowed(SESSION_TRANSITIONS, each.status, to_status)
        ]
        halves = [divmod(each, 2) for each in drawn]
        return [movable[half % len(movable)] if odd and movable else half for half, odd in halves]

    def kernel_count(self, number: int) -> int:
        return 1 if number == UNKNOWN else len(REQUESTS[number])

    def of_its_kernels(self, number: int, drawn: Mapping[int, Amounts]) -> dict[int, Amounts]:
        """Amounts for the kernels that there are, mostly within what they requested."""
        requested = () if number == UNKNOWN else REQUESTS[number]
        return {
            index: (requested[index] + 1 if cores == MORE else cores % (requested[index] + 1), memory)
            for index, (cores, memory) in drawn.items()
            if index < len(requested)
        }

    def mark(self, to_status: SessionStatus, batch: Sequence[int]) -> None:
        chosen = self.choose(to_status, batch)
        expected = self.model.mark(to_status, chosen)
        ids = [session_id(number) for number in chosen]
        answer = self.world.runner.run(mark(self.world.repository, to_status, ids))
        self.compare(answer, answer.changed, expected)

    def compare(
        self, answer: AllocationResult | TransitionResult, changed: Sequence[object], expected: Outcome
    ) -> None:
        assert list(changed) == [session_id(number) for number in expected.changed]
        assert [(each.session_id, each.code) for each in answer.rejected] == [
            (session_id(number), code) for number, code in expected.rejected
        ]

    @invariant()
    def the_database_is_where_the_model_is(self) -> None:
        self.world.steps += 1
        self.world.runner.run(self.check())

    async def check(self) -> None:
        connection = self.world.connection
        assert await leaks(connection) == []
        await self.check_sessions(connection)
        await self.check_kernels(connection)
        await self.check_history(connection)
        slots = await connection.fetch("SELECT agent_id, slot_name, occupied, capacity FROM agent_slots")
        for slot in slots:
            assert 0 <= slot["occupied"] <= slot["capacity"]
            held = sum(each[slot["slot_name"] == MEM] for each in self.model.on_agent(slot["agent_id"]))
            assert slot["occupied"] == held

    async def check_sessions(self, connection: DriverConnection) -> None:
        rows = await connection.fetch(
            "SELECT status, result, retry_count, failed_agent_ids, dispatched_at IS NOT NULL AS is_dispatched"
            " FROM sessions ORDER BY id"
        )
        assert [tuple(row) for row in rows] == [
            (each.status, each.result, each.retry_count, sorted(each.failed_agents), each.is_dispatched)
            for each in self.model.sessions
        ]

    async def check_kernels(self, connection: DriverConnection) -> None:
        rows = await connection.fetch("SELECT status, agent_id, occupied_slots FROM kernels ORDER BY id")
        assert [(row["status"], row["agent_id"], tuple(row["occupied_slots"]) or (0, 0)) for row in rows] == [
            (each.status, kernel.agent, kernel.occupied)
            for each in self.model.sessions
            for kernel in each.kernels
        ]
        # The quota by the kernels themselves, whatever the model says.
        held = await connection.fetchrow(
            "SELECT coalesce(sum(occupied_slots[1]), 0) AS cores, count(DISTINCT session_id) AS sessions"
            " FROM kernels WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')"
        )
        assert held["cores"] <= CORE_LIMIT
        assert held["sessions"] <= SESSION_LIMIT

    async def check_history(self, connection: DriverConnection) -> None:
        rows = await connection.fetch(
            "SELECT session_id, kernel_id, from_status, to_status FROM session_history ORDER BY session_id, id"
        )
        for number, each in enumerate(self.model.sessions):
            walked = [row for row in rows if row["session_id"] == session_id(number)]
            assert [(row["from_status"], row["to_status"]) for row in walked] == list(each.history)
            assert walked[-1]["to_status"] == each.status
            for before, row in pairwise(walked):
                assert row["from_status"] == before["to_status"]
                step = SessionStatus(row["from_status"]), SessionStatus(row["to_status"])
                assert is_allowed(SESSION_TRANSITIONS, *step)
                self.world.walked.add(step)
        assert all(row["kernel_id"] is None for row in rows)


def walk(world: World, examples: int, steps: int) -> None:
    class Walk(LifeMachine):
        def __init__(self) -> None:
            super().__init__(world)

    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            # On a database shrinking takes minutes; a walk is short enough to be read as it is.
            phases=[Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


class TestRandomWalk:
    def test_short(self, world: World) -> None:
        # when
        walk(world, examples=6, steps=30)
        # then it has been to more than the beginning
        assert {SessionStatus.RUNNING, SessionStatus.PENDING} <= {to_status for _, to_status in world.walked}

    @pytest.mark.slow
    def test_long(self, world: World) -> None:
        # when
        walk(world, examples=100, steps=40)
        # then it has gone from everywhere to everywhere
        assert {one for one, _ in world.walked} == {
            one for one, following in SESSION_TRANSITIONS.items() if following
        }
        assert {other for _, other in world.walked} == set(SessionStatus)
