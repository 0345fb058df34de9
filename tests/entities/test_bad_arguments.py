"""What is malformed is refused before any query: here there is no server that could be asked."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final, cast
from uuid import UUID

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.agent import AgentReport, AgentSpec
from scheduler_repo.entities.scaling_group import ScalingGroupChanges, ScalingGroupGrant, ScalingGroupSpec
from scheduler_repo.entities.slot_type import SlotTypeSpec
from scheduler_repo.errors import DatabaseUnavailable
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.types import AgentId, OwnerScope
from tests.support.refusals import Ask, refused
from tests.support.small_cluster import agent

# Arguments of any kind, as a caller without a type checker may give them.
odd: Final = cast("Any", object())
NUL: Final = cast("Any", "a\0")
SURROGATE: Final = cast("Any", "\ud800")
NO_TEXT: Final[tuple[Any, ...]] = (
    None,
    7,
    b"a1",
    UUID(int=1),
    NUL,
    SURROGATE,
    "",
    10**5_000,
    functools.reduce(lambda inner, _: (inner,), range(3_000), cast("Any", ())),
)
NO_LIST: Final[tuple[Any, ...]] = (
    None,
    7,
    "a1",
    b"a1",
    {"a1"},
    (name for name in ("a1",)),
    {"a1": 1},
)
MINUTE: Final = timedelta(minutes=1)


def spec(**fields: object) -> AgentSpec:
    good: dict[str, Any] = {
        "agent_id": "a1",
        "scaling_group": "gpu",
        "address": "tcp://a1",
        "architecture": "x86_64",
        "capacity": {},
    }
    return AgentSpec(**{**good, **fields})


def grant(*fields: object) -> ScalingGroupGrant:
    return ScalingGroupGrant(*cast("Any", fields))


OfAgents = Callable[[AgentRepository], Awaitable[object]]
OfGroups = Callable[[ScalingGroupRepository], Awaitable[object]]

AGENTS: Final[Mapping[str, OfAgents]] = {
    "struct for an agent": lambda agents: agents.register_agents([agent("a1"), cast("Any", ("a2", "gpu"))]),
    "one agent for a list": lambda agents: agents.register_agents(cast("Any", agent("a1"))),
    "address": lambda agents: agents.register_agents([spec(address=None)]),
    "architecture": lambda agents: agents.register_agents([spec(architecture=64)]),
    "group": lambda agents: agents.register_agents([spec(scaling_group=None)]),
    "id": lambda agents: agents.register_agents([spec(agent_id="")]),
    "containers": lambda agents: agents.register_agents([spec(max_containers=-1)]),
    "struct for a report": lambda agents: agents.return_agents([cast("Any", ("a1", {}))]),
    "id of a report": lambda agents: agents.return_agents([AgentReport(cast("Any", None), {})]),
    "none among ids": lambda agents: agents.drain_agents([cast("Any", None)]),
    "number among ids": lambda agents: agents.set_agents_schedulable([cast("Any", 7)], True),
    "word for a switch": lambda agents: agents.set_agents_schedulable([], cast("Any", "yes")),
    "number for a switch": lambda agents: agents.set_agents_schedulable([], cast("Any", 1)),
    "none for a switch": lambda agents: agents.set_agents_schedulable([], cast("Any", None)),
    "lease of a drain": lambda agents: agents.drain_agents([], lease=odd),
    "lease of a report": lambda agents: agents.return_agents([], lease=odd),
    "lease of a switch": lambda agents: agents.set_agents_schedulable([], True, lease=odd),
    "lease of a loss": lambda agents: agents.mark_lost_agents(cast("Any", "gpu"), MINUTE, lease=odd),
    "reason": lambda agents: agents.drain_agents([], reason=odd),
    "reason with nul": lambda agents: agents.drain_agents([], reason="a\0"),
    "silence": lambda agents: agents.mark_lost_agents(cast("Any", "gpu"), cast("Any", 60)),
}
TAKES_AGENTS: Final[Mapping[str, Callable[[AgentRepository, Any], Awaitable[object]]]] = {
    "register_agents": lambda agents, items: agents.register_agents(items),
    "record_heartbeats": lambda agents, items: agents.record_heartbeats(items),
    "drain_agents": lambda agents, items: agents.drain_agents(items),
    "resume_agents": lambda agents, items: agents.resume_agents(items),
    "terminate_agents": lambda agents, items: agents.terminate_agents(items),
    "return_agents": lambda agents, items: agents.return_agents(items),
    "set_agents_schedulable": lambda agents, items: agents.set_agents_schedulable(items, True),
}
TAKES_TEXT: Final[Mapping[str, Callable[[AgentRepository, ScalingGroupRepository, Any], Awaitable[object]]]] = {
    "get_agent": lambda agents, groups, text: agents.get_agent(text),
    "find_agent": lambda agents, groups, text: agents.find_agent(text),
    "list_agents": lambda agents, groups, text: agents.list_agents(text),
    "mark_lost_agents": lambda agents, groups, text: agents.mark_lost_agents(text, MINUTE),
    "get_scaling_group": lambda agents, groups, text: groups.get_scaling_group(text),
    "find_scaling_group": lambda agents, groups, text: groups.find_scaling_group(text),
    "totals": lambda agents, groups, text: groups.get_total_resource_slots(text),
    "usable": lambda agents, groups, text: groups.list_usable_scaling_groups(text),
    "grants": lambda agents, groups, text: groups.list_scaling_group_grants(text),
    "update": lambda agents, groups, text: groups.update_scaling_group(text, ScalingGroupChanges()),
    "create": lambda agents, groups, text: groups.create_scaling_groups([ScalingGroupSpec(name=text)]),
    "slot": lambda agents, groups, text: groups.register_slot_types([SlotTypeSpec(name=text)]),
    "group of a grant": lambda agents, groups, text: groups.grant_scaling_groups(
        [grant(text, OwnerScope.DOMAIN, "lab")]
    ),
    "owner of a grant": lambda agents, groups, text: groups.revoke_scaling_groups(
        [grant("gpu", OwnerScope.ACCESS_KEY, text)]
    ),
}
TAKES_GROUPS: Final[Mapping[str, Callable[[ScalingGroupRepository, Any], Awaitable[object]]]] = {
    "create_scaling_groups": lambda groups, items: groups.create_scaling_groups(items),
    "register_slot_types": lambda groups, items: groups.register_slot_types(items),
    "grant_scaling_groups": lambda groups, items: groups.grant_scaling_groups(items),
    "revoke_scaling_groups": lambda groups, items: groups.revoke_scaling_groups(items),
}
GROUPS: Final[Mapping[str, OfGroups]] = {
    "struct for a group": lambda groups: groups.create_scaling_groups([cast("Any", ("gpu", True))]),
    "timeout of a group": lambda groups: groups.create_scaling_groups(
        [ScalingGroupSpec(name=cast("Any", "gpu"), pending_timeout=timedelta())]
    ),
    "units of a slot type": lambda groups: groups.register_slot_types(
        [SlotTypeSpec(name=cast("Any", "cpu"), units_per_whole=0)]
    ),
    "flag for units": lambda groups: groups.register_slot_types(
        [SlotTypeSpec(name=cast("Any", "cpu"), units_per_whole=True)]
    ),
    "large units": lambda groups: groups.register_slot_types(
        [SlotTypeSpec(name=cast("Any", "cpu"), units_per_whole=10**5_000)]
    ),
    "struct for a slot type": lambda groups: groups.register_slot_types([cast("Any", ("cpu", 1))]),
    "struct for a grant": lambda groups: groups.grant_scaling_groups([cast("Any", ("gpu", "USER", "x"))]),
    "scope": lambda groups: groups.grant_scaling_groups([grant("gpu", "DOMAIN", "lab")]),
    "user by name": lambda groups: groups.grant_scaling_groups([grant("gpu", OwnerScope.USER, "ada")]),
    "user by uuid": lambda groups: groups.grant_scaling_groups([grant("gpu", OwnerScope.USER, UUID(int=1))]),
    "project in capitals": lambda groups: groups.revoke_scaling_groups(
        [grant("gpu", OwnerScope.PROJECT, str(UUID(int=10)).upper())]
    ),
    "no changes": lambda groups: groups.update_scaling_group(cast("Any", "gpu"), cast("Any", None)),
    "spec for changes": lambda groups: groups.update_scaling_group(
        cast("Any", "gpu"), cast("Any", ScalingGroupSpec(name=cast("Any", "gpu")))
    ),
    "project": lambda groups: groups.list_usable_scaling_groups(cast("Any", "key"), cast("Any", "vision")),
}


class TestRefusals:
    @pytest.fixture
    def agents(self, unreachable: ExtendedAsyncSAEngine) -> AgentRepository:
        return AgentRepository(AgentDBSource(unreachable))

    @pytest.fixture
    def groups(self, unreachable: ExtendedAsyncSAEngine) -> ScalingGroupRepository:
        return ScalingGroupRepository(ScalingGroupDBSource(unreachable))

    async def test_of_agents(self, agents: AgentRepository) -> None:
        await refused(lambda call: call(agents), AGENTS.values())

    async def test_of_groups(self, groups: ScalingGroupRepository) -> None:
        await refused(lambda call: call(groups), GROUPS.values())

    @pytest.mark.parametrize("method", TAKES_TEXT)
    async def test_of_what_is_no_text(
        self, agents: AgentRepository, groups: ScalingGroupRepository, method: str
    ) -> None:
        await refused(partial(TAKES_TEXT[method], agents, groups), NO_TEXT)

    @pytest.mark.parametrize("method", [*TAKES_AGENTS, *TAKES_GROUPS])
    async def test_of_what_is_no_list(
        self, agents: AgentRepository, groups: ScalingGroupRepository, method: str
    ) -> None:
        # given
        ask: Ask
        if method in TAKES_AGENTS:
            ask = partial(TAKES_AGENTS[method], agents)
        else:
            ask = partial(TAKES_GROUPS[method], groups)
        # when / then
        await refused(ask, NO_LIST, match="give a list or a tuple")

    @pytest.mark.usefixtures("no_retry_waits")
    async def test_what_is_well_formed_is_asked(
        self, agents: AgentRepository, groups: ScalingGroupRepository
    ) -> None:
        """Else the refusals above would say nothing."""
        # when
        answers = await asyncio.gather(
            agents.set_agents_schedulable([AgentId("a1")], True),
            groups.grant_scaling_groups([grant("gpu", OwnerScope.USER, str(UUID(int=10)))]),
            return_exceptions=True,
        )
        # then
        assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 2
