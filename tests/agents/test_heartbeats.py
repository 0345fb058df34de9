"""Heartbeats: the database's clock, never backwards; who is unknown costs itself alone."""

import asyncio
from datetime import UTC, datetime

import pytest

from scheduler_repo.entities.agent import HeartbeatResult
from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.types import AgentId
from tests.agents.fleet import A1, A2, A3, NOBODY, Fleet
from tests.support.databases import OWNER, Database
from tests.support.small_cluster import agent
from tests.support.waiting import until_blocked

# What no column of text can hold, but a caller may be sent.
NUL = AgentId("a\0")


class TestHeartbeats:
    async def test_are_recorded_by_the_clock_of_the_database(
        self, fleet: Fleet, agents: AgentRepository
    ) -> None:
        # given
        await fleet.given([agent(A1), agent(A2)])
        before = await fleet.connection.fetchval("SELECT clock_timestamp()")
        # when
        result = await agents.record_heartbeats([A2, A1, A2])
        # then
        assert result == HeartbeatResult((A2, A1), (), ())
        after = await fleet.connection.fetchval("SELECT clock_timestamp()")
        heard = await fleet.connection.fetch("SELECT agent_id, heartbeat_at FROM agent_heartbeats ORDER BY 1")
        assert [row["agent_id"] for row in heard] == [A1, A2]
        assert all(before <= row["heartbeat_at"] <= after for row in heard)
        # when
        await agents.record_heartbeats([A1])
        # then only that agent was heard of later
        again = await fleet.connection.fetch("SELECT agent_id, heartbeat_at FROM agent_heartbeats ORDER BY 1")
        assert again[0]["heartbeat_at"] > heard[0]["heartbeat_at"]
        assert again[1] == heard[1]

    async def test_of_a_clock_that_was_ahead_are_put_right(self, fleet: Fleet, agents: AgentRepository) -> None:
        # given a clock that was ahead
        await fleet.given([agent(A1)])
        ahead = datetime(2999, 1, 1, tzinfo=UTC)
        await fleet.connection.execute("INSERT INTO agent_heartbeats VALUES ($1, $2)", A1, ahead)
        # when
        result = await agents.record_heartbeats([A1])
        # then
        assert result.recorded == (A1,)
        assert await fleet.connection.fetchval("SELECT heartbeat_at <= now() FROM agent_heartbeats")

    async def test_unknown_agent_costs_itself_alone(self, fleet: Fleet, agents: AgentRepository) -> None:
        # given
        await fleet.given([agent(A1), agent(A2)])
        # when
        result = await agents.record_heartbeats([NOBODY, A2, NUL, A1])
        # then
        assert result == HeartbeatResult((A2, A1), (NOBODY, NUL), ())
        assert await fleet.was_heard(A1)

    async def test_who_was_given_up_is_returning_and_stays_so(
        self, fleet: Fleet, agents: AgentRepository
    ) -> None:
        # given
        await fleet.given([agent(A1), agent(A2), agent(A3)])
        await fleet.set_status("LOST", A1)
        await fleet.set_status("TERMINATED", A3)
        # when
        result = await agents.record_heartbeats([A3, A2, A1])
        # then
        assert result == HeartbeatResult((A3, A2, A1), (), (A3, A1))
        assert [await fleet.status(each) for each in (A1, A3)] == [("LOST", "ALIVE"), ("TERMINATED", "ALIVE")]
        assert await fleet.was_heard(A1)

    async def test_agent_that_is_deleted_at_this_moment_is_unknown(
        self, fleet: Fleet, agents: AgentRepository, migrated_database: Database
    ) -> None:
        # given one that was heard of and one that was not, both about to be gone
        await fleet.given([agent(A1), agent(A2), agent(A3)])
        await agents.record_heartbeats([A1])
        async with migrated_database.driver_as(OWNER) as other:
            transaction = other.transaction()
            await transaction.start()
            await other.execute("DELETE FROM agents WHERE id IN ('a1', 'a2')")
            # when
            recording = asyncio.ensure_future(agents.record_heartbeats([A1, A2, A3]))
            await until_blocked(fleet.connection, 1)
            await transaction.commit()
            # then
            assert await recording == HeartbeatResult((A3,), (A1, A2), ())

    async def test_nobody_costs_nothing(self, agents: AgentRepository) -> None:
        # when / then
        assert await agents.record_heartbeats([]) == HeartbeatResult((), (), ())

    @pytest.mark.parametrize("given", ["a1", [None], [1], [b"a1"], ["\ud800"]])
    async def test_what_is_no_id_is_refused(self, agents: AgentRepository, given: object) -> None:
        # when / then
        with pytest.raises(InvalidInput, match="agent id"):
            await agents.record_heartbeats(given)  # type: ignore[arg-type]
