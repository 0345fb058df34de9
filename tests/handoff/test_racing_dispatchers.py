"""Dispatchers that race, and sessions that go back to the queue meanwhile: each attempt is marked once."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from scheduler_repo.database.engine import create_engine
from scheduler_repo.entities.lifecycle import SessionAttempt, SessionRetry
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import SessionStatus
from tests.handoff.agents import SESSIONS, Agents, Dispatcher, starts_of
from tests.support.databases import SCHEDULER, Database, DriverConnection
from tests.support.small_cluster import history_of, session_id

DISPATCHERS = 4
ROUNDS = 6
MOST_RACES = 50


@pytest.fixture
async def dispatchers(database: Database, agents: Agents) -> AsyncIterator[list[Dispatcher]]:
    """Several, each with an engine of its own."""
    settings = DatabaseSettings(url=SecretUrl(database.url_as(SCHEDULER)), pool_size=1)
    engines = [create_engine(settings) for _ in range(DISPATCHERS)]
    yield [Dispatcher(engine, agents) for engine in engines]
    for engine in engines:
        await engine.dispose()


def all_marks(dispatchers: list[Dispatcher]) -> Counter[SessionAttempt]:
    """How often each attempt was marked, whoever did."""
    return sum((dispatcher.marked for dispatcher in dispatchers), Counter())


class TestRace:
    async def test_each_attempt_is_marked_by_one(
        self, dispatchers: list[Dispatcher], dispatcher: Dispatcher, agents: Agents
    ) -> None:
        for attempt in range(ROUNDS):
            # given
            placed = await dispatcher.allocate(range(SESSIONS))
            assert len(placed.allocated) == SESSIONS
            listed = await asyncio.gather(*(each.list() for each in dispatchers))
            assert {len(each) for each in listed} == {SESSIONS}
            # when all have read the same, and mark it in unlike orders
            await asyncio.gather(*(each.tell(seen) for each, seen in zip(dispatchers, listed, strict=True)))
            results = await asyncio.gather(
                *(
                    each.mark(seen[shift:] + seen[:shift])
                    for shift, (each, seen) in enumerate(zip(dispatchers, listed, strict=True))
                )
            )
            # then
            marked = Counter(session for result in results for session in result.dispatched)
            assert marked == Counter(session_id(number) for number in range(SESSIONS))
            assert sum(len(result.rejected) for result in results) == SESSIONS * (DISPATCHERS - 1)
            assert {start.retry_count for start in agents.started[-2 * SESSIONS :]} == {attempt}
            assert len(agents.started) == (attempt + 1) * 2 * SESSIONS
            await dispatcher.lifecycle.requeue_sessions(
                [SessionRetry(session_id(number)) for number in range(SESSIONS)]
            )

    async def test_while_sessions_are_queued_again(
        self,
        dispatchers: list[Dispatcher],
        dispatcher: Dispatcher,
        agents: Agents,
        owner_connection: DriverConnection,
    ) -> None:
        """Attempts end between list, tell and mark: what is marked is always the attempt that was listed."""
        # given
        order = random.Random(4)  # noqa: S311 - the same each time
        await dispatcher.allocate(range(SESSIONS))
        is_over = asyncio.Event()

        async def dispatch(each: Dispatcher) -> None:
            while not is_over.is_set():
                await each.dispatch()

        async def queue_again() -> None:
            for _ in range(2 * ROUNDS):
                numbers = order.sample(range(SESSIONS), 3)
                retries = [SessionRetry(session_id(number)) for number in numbers]
                requeued = await dispatcher.lifecycle.requeue_sessions(retries)
                assert len(requeued.changed) == 3
                assert len((await dispatcher.allocate(numbers)).allocated) == 3
            is_over.set()

        # when they race until attempts were marked, and others lost on the way
        for _ in range(MOST_RACES):
            is_over.clear()
            async with asyncio.TaskGroup() as group:
                group.create_task(queue_again())
                for each in dispatchers:
                    group.create_task(dispatch(each))
            await dispatchers[0].dispatch()
            marks = all_marks(dispatchers)
            begun = await owner_connection.fetchval("SELECT sum(retry_count + 1) FROM sessions")
            if begun > len(marks) > SESSIONS:
                break
        else:
            raise AssertionError(f"of {begun} attempts {len(marks)} were marked: it was no race")
        # then
        assert set(marks.values()) == {1}
        newest = await owner_connection.fetch("SELECT id, retry_count, dispatched_at FROM sessions")
        assert all(SessionAttempt(row["id"], row["retry_count"]) in marks for row in newest)
        assert all(row["dispatched_at"] for row in newest)
        told = {SessionAttempt(start.session_id, start.retry_count) for start in agents.started}
        assert told >= marks.keys()


class TestNextAttempt:
    async def test_is_listed_after_its_allocation_and_the_old_mark_is_rejected(
        self, dispatcher: Dispatcher, agents: Agents, owner_connection: DriverConnection
    ) -> None:
        # given an attempt that was listed and told, and goes back to the queue before it is marked
        await dispatcher.allocate([0])
        first = await dispatcher.list()
        await dispatcher.tell(first)
        await dispatcher.lifecycle.requeue_sessions([SessionRetry(session_id(0))])
        # then it is not listed while it pends, and cannot be marked
        assert await dispatcher.list() == ()
        assert (await dispatcher.mark(first)).rejected == (session_id(0),)
        # when
        await dispatcher.allocate([0])
        second = await dispatcher.list()
        # then
        assert [(each.session_id, each.retry_count) for each in second] == [(session_id(0), 1)]
        assert (await dispatcher.mark(first)).rejected == (session_id(0),)
        assert await dispatcher.list() == second
        await dispatcher.tell(second)
        assert (await dispatcher.mark(second)).dispatched == (session_id(0),)
        assert (await dispatcher.mark(second)).rejected == (session_id(0),)
        assert await dispatcher.list() == ()
        assert agents.started == [start for each in (first, second) for start in starts_of(each[0])]
        assert await history_of(owner_connection, 0) == [
            (None, "PENDING"),
            ("PENDING", "SCHEDULED"),
            ("SCHEDULED", "PENDING"),
            ("PENDING", "SCHEDULED"),
        ]

    async def test_of_a_dispatched_one(self, dispatcher: Dispatcher) -> None:
        # given
        await dispatcher.allocate([0])
        assert (await dispatcher.dispatch()).dispatched == (session_id(0),)
        # when its agent fails
        await dispatcher.lifecycle.requeue_sessions([SessionRetry(session_id(0))])
        await dispatcher.allocate([0])
        # then
        assert [each.retry_count for each in await dispatcher.list()] == [1]
        assert (await dispatcher.dispatch()).dispatched == (session_id(0),)
        assert set(dispatcher.marked) == {SessionAttempt(session_id(0), attempt) for attempt in (0, 1)}

    async def test_one_that_ended_needs_no_dispatch(self, dispatcher: Dispatcher) -> None:
        # given
        await dispatcher.allocate([0])
        listed = await dispatcher.list()
        # when
        cancelled = await dispatcher.lifecycle.mark_cancelled([session_id(0)])
        # then
        assert cancelled.to_status is SessionStatus.CANCELLED
        assert (await dispatcher.mark(listed)).rejected == (session_id(0),)
        assert await dispatcher.list() == ()
