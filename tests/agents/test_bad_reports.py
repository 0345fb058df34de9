"""A report that cannot be stored costs its own agent alone."""

from collections.abc import Mapping
from decimal import Decimal

import pytest

from scheduler_repo.entities.agent import AgentRejectionCode, AgentReport, RejectedAgentTransition
from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.types import AgentId, AgentStatus
from tests.agents.fleet import A1, A2, A3, NOBODY, Fleet, Slot, reasons, report
from tests.support.small_cluster import CPU, agent

INVALID_AMOUNT = AgentRejectionCode.INVALID_AMOUNT
INVALID_REPORT = AgentRejectionCode.INVALID_REPORT
UNKNOWN_SLOT = AgentRejectionCode.UNKNOWN_SLOT
NUL = AgentId("a\0")

BAD_REPORTS: Mapping[str, tuple[AgentRejectionCode, Mapping[str, object]]] = {
    "negative": (INVALID_AMOUNT, {"capacity": {CPU: -1}}),
    "nan": (INVALID_AMOUNT, {"capacity": {CPU: float("nan")}}),
    "decimal nan": (INVALID_AMOUNT, {"capacity": {CPU: Decimal("NaN")}}),
    "fractional": (INVALID_AMOUNT, {"capacity": {CPU: 1.5}}),
    "whole float": (INVALID_AMOUNT, {"capacity": {CPU: 2.0}}),
    "boolean": (INVALID_AMOUNT, {"capacity": {CPU: True}}),
    "none": (INVALID_AMOUNT, {"capacity": {CPU: None}}),
    "text": (INVALID_AMOUNT, {"capacity": {CPU: "2"}}),
    "above 63 bits": (INVALID_AMOUNT, {"capacity": {CPU: 2**63}}),
    "above 64 bits": (INVALID_AMOUNT, {"capacity": {CPU: 2**64}}),
    "unknown slot": (UNKNOWN_SLOT, {"capacity": {CPU: 1, "fpga": 1}}),
    "slot with nul": (UNKNOWN_SLOT, {"capacity": {"cpu\0": 1}}),
    "slot with half a pair": (INVALID_REPORT, {"capacity": {"\ud800": 1}}),
    "slot by number": (INVALID_REPORT, {"capacity": {0: 1}}),
    "no mapping": (INVALID_REPORT, {"capacity": [1, 2]}),
    "negative containers": (INVALID_REPORT, {"capacity": {}, "max_containers": -1}),
    "containers above 31 bits": (INVALID_REPORT, {"capacity": {}, "max_containers": 2**31}),
    "fractional containers": (INVALID_REPORT, {"capacity": {}, "max_containers": 1.5}),
    "empty address": (INVALID_REPORT, {"capacity": {}, "address": ""}),
    "address with nul": (INVALID_REPORT, {"capacity": {}, "address": "\0"}),
    "address with half a pair": (INVALID_REPORT, {"capacity": {}, "address": "\udfff"}),
    "architecture that is no text": (INVALID_REPORT, {"capacity": {}, "architecture": 64}),
}


class TestBadReports:
    @pytest.mark.parametrize("kind", BAD_REPORTS)
    async def test_costs_its_own_agent_alone(self, fleet: Fleet, agents: AgentRepository, kind: str) -> None:
        # given
        code, fields = BAD_REPORTS[kind]
        await fleet.given([agent(A1), agent(A2)])
        await fleet.set_status("LOST", A1, A2)
        # when
        bad = AgentReport(A1, **fields)  # type: ignore[arg-type]
        result = await agents.return_agents([bad, report(A2, cpu=3)])
        # then
        assert reasons(result.rejected) == [(A1, code)]
        assert result.rejected[0].status is AgentStatus.LOST
        assert result.rejected[0].detail.startswith("agent a1")
        assert (result.alive, result.returned) == ((A2,), (A2,))
        assert await fleet.status(A1) == ("LOST", "ALIVE")
        assert (await fleet.slots(A1))["cpu"] == Slot(10, 0, 10)
        assert (await fleet.slots(A2))["cpu"] == Slot(3, 0, 3)
        assert not await fleet.was_heard(A1)

    async def test_largest_amount_is_taken(self, fleet: Fleet, agents: AgentRepository) -> None:
        # given
        await fleet.given([agent(A1)])
        # when
        await agents.return_agents([report(A1, cpu=2**63 - 1)])
        # then
        assert (await fleet.slots(A1))["cpu"] == Slot(2**63 - 1, 0, 2**63 - 1)

    async def test_unknown_and_repeated_agents_cost_themselves_alone(
        self, fleet: Fleet, agents: AgentRepository
    ) -> None:
        # given
        await fleet.given([agent(A1), agent(A3)])
        # when
        result = await agents.return_agents(
            [report(NOBODY), report(A3), report(NUL), report(A1, cpu=5), report(A1, cpu=6)]
        )
        # then
        assert result.alive == (A3, A1)
        assert result.rejected == (
            RejectedAgentTransition(NOBODY, AgentRejectionCode.AGENT_UNKNOWN),
            RejectedAgentTransition(NUL, AgentRejectionCode.AGENT_UNKNOWN),
            RejectedAgentTransition(A1, AgentRejectionCode.DUPLICATE),
        )
        assert (await fleet.slots(A1))["cpu"] == Slot(5, 0, 5)

    async def test_what_is_no_id_is_refused(self, agents: AgentRepository) -> None:
        # when / then
        with pytest.raises(InvalidInput, match="agent id 7 is an int"):
            await agents.return_agents([AgentReport(7, {})])  # type: ignore[arg-type]
