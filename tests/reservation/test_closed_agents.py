"""A reservation ends when an agent of it takes kernels of the group no more, however that came about."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Final

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.agent import AgentReport
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.scheduling.explain.reasons import WaitingReason, waiting_reasons
from scheduler_repo.scheduling.explain.session import explain_session
from scheduler_repo.types import AgentId, AgentStatus
from tests.reservation.contest import A1, A2, A3, LOW, Contest, hold, important
from tests.support.small_cluster import (
    ARM,
    CPU,
    GROUP,
    MEM,
    OTHER_GROUP,
    X86,
    agent,
    place,
    session,
    session_id,
)

Close = Callable[[Contest, AgentRepository], Awaitable[object]]


def _by_row(change: str) -> Close:
    return lambda contest, _: contest.connection.execute(f"UPDATE agents SET {change} WHERE id = '{A1}'")


async def _lose(contest: Contest, agents: AgentRepository) -> None:
    await contest.connection.execute("UPDATE agents SET status_changed_at = now() - interval '1 day'")
    await agents.record_heartbeats([AgentId(A2), AgentId(A3)])
    await agents.mark_lost_agents(GROUP, timedelta(hours=1))


def _every_way() -> Iterator[tuple[str, Close]]:
    for status in AgentStatus:
        for is_schedulable in (True, False):
            for group in (GROUP, OTHER_GROUP):
                if (status, is_schedulable, group) != (AgentStatus.ALIVE, True, GROUP):
                    change = (
                        f"status = '{status}', is_schedulable = {is_schedulable}, scaling_group = '{group}'"
                    )
                    yield f"row: {status} {is_schedulable} {group}", _by_row(change)
    agent_ids: Final = [AgentId(A1)]
    yield "drain_agents", lambda _, agents: agents.drain_agents(agent_ids)
    yield "set_agents_schedulable", lambda _, agents: agents.set_agents_schedulable(agent_ids, False)
    yield "terminate_agents", lambda _, agents: agents.terminate_agents(agent_ids)
    yield "mark_lost_agents", _lose


def _ways() -> list[object]:
    return [pytest.param(close, id=name) for name, close in _every_way()]


@pytest.fixture
def agents(engine: ExtendedAsyncSAEngine) -> AgentRepository:
    return AgentRepository(AgentDBSource(engine))


async def _agent_is_closed(contest: Contest) -> bool:
    state = await contest.connection.fetchrow(
        "SELECT status = 'ALIVE' AND is_schedulable AND scaling_group = $2 FROM agents WHERE id = $1", A1, GROUP
    )
    return state is not None and not state[0]


class TestEveryWay:
    @pytest.mark.parametrize("close", _ways())
    async def test_its_session_goes_beside(
        self, contest: Contest, agents: AgentRepository, close: Close
    ) -> None:
        # given a session of two kernels is held on two agents, and waits for the second; the third is free
        await contest.given(
            [agent(A1), agent(A2), agent(A3, cpu=20)],
            [important(session(2, 10), LOW), important(session(10, 10, 10))],
            {2: [A2]},
        )
        assert (await contest.reserve(hold(10, A1, A2, victims=[2]))).rejected == ()
        assert await contest.plan() == {}
        # when
        await close(contest, agents)
        # then no reader sees a reservation, and what was held on the other agent is free
        assert await _agent_is_closed(contest)
        assert await contest.holders() == []
        data = await contest.read()
        assert data.reservations == ()
        assert [each.reserved_containers for each in data.agents] == [0] * len(data.agents)
        (waiting,) = waiting_reasons(data)
        assert waiting.reason is WaitingReason.PLACEABLE
        assert explain_session(data, session_id(10)).waiting == waiting
        # and it may be held elsewhere, and is placed there
        assert (await contest.reserve(hold(10, A3, A3))).rejected == ()
        assert await contest.plan() == {session_id(10): (A3, A3)}
        assert (await contest.allocate(place(10, A3, A3))).rejected == ()


class TestSmallerAgent:
    """Agents that stay open, and could not take what is held on them even when they are empty."""

    @pytest.mark.parametrize(
        "report",
        [
            AgentReport(AgentId(A1), {CPU: 9, MEM: 100}),
            AgentReport(AgentId(A1), {MEM: 100}),
            AgentReport(AgentId(A1), {CPU: 10, MEM: 100}, max_containers=0),
            AgentReport(AgentId(A1), {CPU: 10, MEM: 100}, architecture=ARM),
        ],
    )
    async def test_its_session_goes_beside(
        self, contest: Contest, agents: AgentRepository, report: AgentReport
    ) -> None:
        # given
        spec = important(session(10, 10, architecture=X86))
        await contest.given([agent(A1), agent(A2)], [spec], {})
        await contest.reserve(hold(10, A1))
        # when
        assert (await agents.return_agents([report])).alive == (A1,)
        # then
        (waiting,) = waiting_reasons(data := await contest.read())
        assert waiting.reason is WaitingReason.PLACEABLE
        assert explain_session(data, session_id(10)).waiting == waiting
        assert await contest.plan() == {session_id(10): (A2,)}
        assert (await contest.allocate(place(10, A2))).rejected == ()
        assert await contest.holders() == []

    async def test_that_is_only_full_is_waited_for(self, contest: Contest) -> None:
        # given
        await contest.given(
            [agent(A1), agent(A2)], [important(session(2, 10), LOW), important(session(10, 10))], {2: [A1]}
        )
        # when
        await contest.reserve(hold(10, A1, victims=[2]))
        # then
        assert await contest.plan() == {}


class TestOpenAgent:
    @pytest.mark.parametrize(
        "change",
        [
            "container_count = container_count",
            "status = 'ALIVE', is_schedulable = true, returns_as = 'DRAINING'",
            f"scaling_group = '{GROUP}', address = 'elsewhere'",
        ],
    )
    async def test_keeps_what_is_held_on_it(self, contest: Contest, change: str) -> None:
        # given
        await contest.given([agent(A1)], [important(session(10, 10))], {})
        await contest.reserve(hold(10, A1))
        # when
        await contest.connection.execute(f"UPDATE agents SET {change}")
        # then
        assert await contest.holders() == [session_id(10)]

    async def test_that_reports_enough_keeps_it(self, contest: Contest, agents: AgentRepository) -> None:
        # given
        await contest.given([agent(A1)], [important(session(10, 10))], {})
        await contest.reserve(hold(10, A1))
        # when
        report = AgentReport(AgentId(A1), {CPU: 12, MEM: 100})
        assert (await agents.return_agents([report])).alive == (A1,)
        # then
        assert await contest.holders() == [session_id(10)]
