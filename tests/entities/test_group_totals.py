"""The totals of a group are the sums over its agents' ledgers, exact and of one instant."""

from collections.abc import Iterable
from typing import Final

import msgspec
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from scheduler_repo.errors import ScalingGroupNotFound
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import AgentId, AgentStatus, ScalingGroupName
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import CLOSED_GROUP, GROUP, OTHER_GROUP, agent, cluster, place, session

LARGEST: Final = 2**63 - 1
SLOTS: Final = ("cpu", "mem", "disk")
# By name; the second slot type was removed, and its index stays.
INDEXES: Final = {"cpu": 0, "mem": 2, "disk": 3}


class Slot(msgspec.Struct, frozen=True):
    """One row of the ledger."""

    name: str
    capacity: int
    occupied: int


class Node(msgspec.Struct, frozen=True):
    """One agent."""

    group: str
    status: AgentStatus
    is_schedulable: bool
    slots: tuple[Slot, ...]


@st.composite
def slots(draw: st.DrawFn, name: str) -> Slot:
    capacity = draw(st.sampled_from([0, 1, 7, LARGEST]) | st.integers(0, LARGEST))
    return Slot(name, capacity, draw(st.integers(0, capacity)))


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    names = draw(st.sets(st.sampled_from(SLOTS)))
    return Node(
        draw(st.sampled_from([GROUP, GROUP, OTHER_GROUP])),
        draw(st.sampled_from(AgentStatus)),
        draw(st.booleans()),
        tuple(draw(slots(name)) for name in sorted(names)),
    )


def summed(nodes: Iterable[Node], column: str) -> tuple[int, ...]:
    """A column of the ledgers of these, by slot index."""
    found = [0] * (max(INDEXES.values()) + 1)
    for node in nodes:
        for slot in node.slots:
            found[INDEXES[slot.name]] += getattr(slot, column)
    return tuple(found)


class TestAgainstTheOracle:
    @pytest.fixture(autouse=True)
    async def groups_and_slots(self, owner_connection: DriverConnection) -> None:
        await owner_connection.execute(
            f"INSERT INTO scaling_groups (name) VALUES ('{GROUP}'), ('{OTHER_GROUP}')"
        )
        await owner_connection.executemany(
            "INSERT INTO slot_types (name, slot_index) VALUES ($1, $2)", list(INDEXES.items())
        )

    @settings(
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(cluster=st.lists(nodes(), max_size=12))
    async def test_totals_are_the_sums_over_the_agents(
        self, groups: ScalingGroupRepository, owner_connection: DriverConnection, cluster: list[Node]
    ) -> None:
        # given
        await owner_connection.execute("TRUNCATE agents CASCADE")
        await owner_connection.executemany(
            "INSERT INTO agents (id, scaling_group, status, is_schedulable, address, architecture)"
            " VALUES ($1, $2, $3, $4, '', '')",
            [
                (str(number), node.group, node.status.value, node.is_schedulable)
                for number, node in enumerate(cluster)
            ],
        )
        await owner_connection.executemany(
            "INSERT INTO agent_slots (agent_id, slot_name, capacity, occupied) VALUES ($1, $2, $3, $4)",
            [
                (str(number), slot.name, slot.capacity, slot.occupied)
                for number, node in enumerate(cluster)
                for slot in node.slots
            ],
        )
        for group in (GROUP, OTHER_GROUP):
            # when
            totals = await groups.get_total_resource_slots(group)
            # then
            there = [
                node
                for node in cluster
                if node.group == group and node.status in (AgentStatus.ALIVE, AgentStatus.DRAINING)
            ]
            taking = [node for node in there if node.status is AgentStatus.ALIVE and node.is_schedulable]
            assert totals.scaling_group == group
            assert (totals.agent_count, totals.schedulable_agent_count) == (len(there), len(taking))
            assert totals.capacity == summed(there, "capacity")
            assert totals.occupied == summed(there, "occupied")
            assert totals.schedulable_capacity == summed(taking, "capacity")
            assert totals.schedulable_occupied == summed(taking, "occupied")
            assert all(type(amount) is int for amount in totals.capacity + totals.occupied)
            event(f"above 63 bits: {max(totals.capacity) > LARGEST}")
            event(f"agents: {min(len(there), 3)}, taking kernels: {min(len(taking), 3)}")


class TestTotals:
    @pytest.fixture(autouse=True)
    async def fleet(self, load: Load) -> None:
        agents = [agent("a1"), agent("a2"), agent("b1", scaling_group=OTHER_GROUP)]
        await load(cluster(agents, [session(1, 4)]))

    async def test_follow_what_is_placed_and_what_is_closed(
        self, groups: ScalingGroupRepository, agents: AgentRepository, scheduler: SchedulerRepository
    ) -> None:
        # given
        before = await groups.get_total_resource_slots(GROUP)
        assert (before.capacity, before.occupied) == ((20, 200), (0, 0))
        # when
        await scheduler.allocate_sessions(GROUP, [place(1, "a1")])
        await agents.set_agents_schedulable([AgentId("a1")], False)
        # then
        totals = await groups.get_total_resource_slots(GROUP)
        assert (totals.agent_count, totals.schedulable_agent_count) == (2, 1)
        assert (totals.capacity, totals.occupied) == ((20, 200), (4, 1))
        assert (totals.schedulable_capacity, totals.schedulable_occupied) == ((10, 100), (0, 0))
        assert totals.observed_at > before.observed_at

    async def test_agree_with_the_tick(
        self, groups: ScalingGroupRepository, scheduler: SchedulerRepository
    ) -> None:
        # given
        await scheduler.allocate_sessions(GROUP, [place(1, "a2")])
        # when
        totals = await groups.get_total_resource_slots(GROUP)
        # then
        tick = await scheduler.get_scheduling_data(GROUP)
        for name in ("capacity", "occupied"):
            by_agent = [getattr(each, name) for each in tick.agents]
            assert getattr(totals, f"schedulable_{name}") == tuple(map(sum, zip(*by_agent, strict=True)))

    async def test_empty_group_has_nothing_of_every_slot(self, groups: ScalingGroupRepository) -> None:
        # when
        totals = await groups.get_total_resource_slots(CLOSED_GROUP)
        # then
        assert (totals.agent_count, totals.capacity, totals.schedulable_occupied) == (0, (0, 0), (0, 0))

    async def test_mistyped_group_is_named(self, groups: ScalingGroupRepository) -> None:
        with pytest.raises(ScalingGroupNotFound, match="'gpU'"):
            await groups.get_total_resource_slots(ScalingGroupName("gpU"))
