"""A dispatcher that is killed anywhere between allocation and mark loses nothing, and nothing starts twice."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Optional
from uuid import UUID

import pytest

from scheduler_repo.database.engine import create_engine
from scheduler_repo.entities.lifecycle import UndispatchedSession
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import AgentId, KernelId, SessionId
from tests.handoff.agents import AGENTS, SESSIONS, Agents, Dispatcher, Start
from tests.support.databases import SCHEDULER, Database, DriverConnection
from tests.support.program import Program, running
from tests.support.small_cluster import history_of, kernel_id, session_id
from tests.support.wire_proxy import Point, Side, proxied

NUMBERS: Final = (0, 1, 2)
ALLOCATE: Final = "allocate 0 1 2"


class Death(NamedTuple):
    """After which steps, and if it is within one more, in which and where, a dispatcher is killed."""

    steps: tuple[str, ...]
    within: Optional[str] = None
    side: Side = Side.REQUEST
    held_bytes_arrive: bool = False


DEATHS: Final = {
    "before the allocation is committed": Death((), ALLOCATE),
    "while its COMMIT is on the way": Death((), ALLOCATE, held_bytes_arrive=True),
    "before it knows that the allocation is committed": Death((), ALLOCATE, Side.ANSWER),
    "after the allocation": Death((ALLOCATE,)),
    "before it tells an agent": Death((ALLOCATE, "list")),
    "between telling two agents": Death((ALLOCATE, "list", "tell 1")),
    "when all agents are told": Death((ALLOCATE, "list", "tell 3")),
    "before the mark is committed": Death((ALLOCATE, "list", "tell 3"), "mark"),
    "while the COMMIT of the mark is on the way": Death(
        (ALLOCATE, "list", "tell 3"), "mark", held_bytes_arrive=True
    ),
    "before it knows that the mark is committed": Death((ALLOCATE, "list", "tell 3"), "mark", Side.ANSWER),
}


class Mark(NamedTuple):
    """When a session was marked as dispatched, and by which transaction."""

    dispatched_at: datetime
    transaction_id: int


async def marks(owner: DriverConnection) -> dict[SessionId, Mark]:
    """Those of all sessions that have one."""
    rows = await owner.fetch(
        "SELECT id, dispatched_at, xmin::text::bigint FROM sessions WHERE dispatched_at IS NOT NULL"
    )
    return {session: Mark(*mark) for session, *mark in rows}


async def step(program: Program, agents: Agents, words: str) -> None:
    """Have a dispatcher take a step, and the agents hear what it says."""
    line = await program.ask(words)
    while line.startswith("start"):
        _, session, retry_count, kernel, agent_id = line.split()
        agents.tell(
            Start(SessionId(UUID(session)), int(retry_count), KernelId(UUID(kernel)), AgentId(agent_id))
        )
        line = await program.says()
    assert line == "done"


async def assert_handed_off(
    dispatcher: Dispatcher, agents: Agents, owner: DriverConnection, numbers: Sequence[int]
) -> None:
    """Have another dispatcher go on, and look at what the agents and the database hold of these sessions."""
    session_ids = {session_id(number) for number in numbers}
    marked_before = await marks(owner)
    await dispatcher.allocate(numbers)
    result = await dispatcher.dispatch()
    # Nothing is lost, and nothing starts twice.
    started = [start for start in agents.started if start.session_id in session_ids]
    assert sorted(started) == sorted(
        Start(session_id(number), 0, kernel_id(number, index), AgentId(name))
        for number in numbers
        for index, name in enumerate(AGENTS)
    )
    # Each is marked once: by the one or by the other.
    marked = await marks(owner)
    assert marked.items() >= marked_before.items()
    assert session_ids <= marked.keys()
    own = {session for session, mark in marked.items() if mark.transaction_id == result.transaction_id}
    assert set(result.dispatched) == own
    assert await dispatcher.list() == ()
    for number in numbers:
        assert await history_of(owner, number) == [(None, "PENDING"), ("PENDING", "SCHEDULED")]


class TestKilled:
    @pytest.mark.parametrize("death", DEATHS)
    async def test_process(
        self,
        database: Database,
        dispatcher: Dispatcher,
        agents: Agents,
        owner_connection: DriverConnection,
        death: str,
    ) -> None:
        how = DEATHS[death]
        async with (
            proxied(database.url_as(SCHEDULER)) as proxy,
            running("tests.handoff.program", proxy.url) as program,
        ):
            # given
            for words in how.steps:
                await step(program, agents, words)
            # when
            if how.within is None:
                await program.kill()
            else:
                hold = proxy.hold(Point.COMMIT, how.side)
                taking = asyncio.create_task(step(program, agents, how.within))
                await hold.reached(taking)
                assert not taking.done()
                await program.kill()
                with pytest.raises(AssertionError):
                    await taking
                if how.held_bytes_arrive:
                    hold.release()
                else:
                    hold.drop()
            # then
            await assert_handed_off(dispatcher, agents, owner_connection, NUMBERS)


# The statement that each call is known by.
CALLS: Final = {
    "allocate": "FOR NO KEY UPDATE",
    "list": "k.kernel_index, k.agent_id",
    "mark": "SET dispatched_at = statement_timestamp()",
}


class TestCancelled:
    """The same for a task: cancelled at every message of every call between allocation and mark."""

    @pytest.mark.parametrize("call", CALLS)
    async def test_task(
        self,
        database: Database,
        dispatcher: Dispatcher,
        agents: Agents,
        owner_connection: DriverConnection,
        call: str,
    ) -> None:
        places = itertools.product((Point.BEGIN, Point.FETCH, Point.COMMIT), Side, (True, False))
        async with proxied(database.url_as(SCHEDULER)) as proxy:
            engine = create_engine(DatabaseSettings(url=SecretUrl(proxy.url), pool_size=1))
            cancelled = Dispatcher(engine, agents)
            for number, (point, side, held_bytes_arrive) in enumerate(places):
                # given
                steps = self._steps(cancelled, number)
                for name, take in steps:
                    if name == call:
                        break
                    await take()
                hold = proxy.hold(point, side, mark=CALLS[call])
                taking = asyncio.ensure_future(take())
                await hold.reached(taking)
                # when
                taking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await taking
                if held_bytes_arrive:
                    hold.release()
                else:
                    hold.drop()
                # then
                await assert_handed_off(dispatcher, agents, owner_connection, [number])
            await engine.dispose()
        assert number == SESSIONS - 1

    def _steps(
        self, dispatcher: Dispatcher, number: int
    ) -> list[tuple[str, Callable[[], Coroutine[object, object, object]]]]:
        listed: list[UndispatchedSession] = []

        async def read() -> None:
            listed.extend(await dispatcher.list())

        return [
            ("allocate", lambda: dispatcher.allocate([number])),
            ("list", read),
            ("tell", lambda: dispatcher.tell(listed)),
            ("mark", lambda: dispatcher.mark(listed)),
        ]
