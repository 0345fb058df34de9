"""Pages of agents are together what the filter asks for, in order, whatever the pages' size."""

import random
from collections.abc import Sequence
from typing import Final, Optional

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from scheduler_repo.entities.agent import AgentFilter, AgentInfo
from scheduler_repo.entities.paging import Cursor
from scheduler_repo.errors import InvalidCursor, InvalidFilter, InvalidLimit
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.types import AgentId, AgentStatus, ScalingGroupName
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import ARM, GROUP, OTHER_GROUP, X86, agent, cluster

# Under a language's collation these would stand in another order, and % and _ would find more than themselves.
STEMS: Final = ("a", "A", "a-", "a%", "a_", "aa", "Ä", "\U0001f5a5", "日本", "node")
EVERYONE: Final = 60
NO_SUCH_GROUP: Final = ScalingGroupName("nowhere")

filters = st.builds(
    AgentFilter,
    scaling_group=st.sampled_from([None, None, GROUP, OTHER_GROUP, NO_SUCH_GROUP]),
    statuses=st.none() | st.lists(st.sampled_from(AgentStatus), min_size=1, max_size=3).map(tuple),
    is_schedulable=st.none() | st.booleans(),
    architecture=st.sampled_from([None, None, X86, ARM]),
    id_prefix=st.sampled_from([None, None, "", *STEMS, "a%1", "nodes"]),
)


def finds(wanted: AgentFilter, info: AgentInfo) -> bool:
    """Whether a filter finds an agent."""
    return (
        wanted.scaling_group in (None, info.scaling_group)
        and (wanted.statuses is None or info.status in wanted.statuses)
        and wanted.is_schedulable in (None, info.is_schedulable)
        and wanted.architecture in (None, info.architecture)
        and info.agent_id.startswith(wanted.id_prefix or "")
    )


class TestSearch:
    @pytest.fixture
    async def everyone(
        self, load: Load, agents: AgentRepository, owner_connection: DriverConnection
    ) -> list[AgentInfo]:
        """Agents of every kind, each as it is read by itself, in the order of their ids' code points."""
        chance = random.Random(11)  # noqa: S311 - the same fleet each time
        ids = [AgentId(f"{stem}{number}") for stem in STEMS for number in range(EVERYONE // len(STEMS))]
        await load(
            cluster(
                [agent(agent_id, scaling_group=chance.choice([GROUP, OTHER_GROUP])) for agent_id in ids], []
            )
        )
        for agent_id in ids:
            await owner_connection.execute(
                "UPDATE agents SET status = $2, is_schedulable = $3, architecture = $4 WHERE id = $1",
                agent_id,
                chance.choice([*AgentStatus]).value,
                chance.random() < 0.5,
                chance.choice([X86, ARM]),
            )
        await agents.record_heartbeats(ids[::2])
        return [
            AgentInfo(*[getattr(found, name) for name in AgentInfo.__struct_fields__])
            for found in [await agents.get_agent(agent_id) for agent_id in sorted(ids, key=str.encode)]
        ]

    async def pages(
        self, agents: AgentRepository, wanted: Optional[AgentFilter], limit: int
    ) -> list[Sequence[AgentInfo]]:
        """All pages of a search, from the first to the last."""
        pages: list[Sequence[AgentInfo]] = []
        cursor: Optional[Cursor] = None
        while not pages or cursor is not None:
            page = await agents.search_agents(wanted, limit, cursor)
            pages.append(page.items)
            assert len(pages) <= EVERYONE, "the pages do not end"
            cursor = page.next_cursor
        return pages

    @settings(
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(wanted=filters, limit=st.integers(1, 70))
    async def test_pages_are_what_the_filter_finds(
        self, agents: AgentRepository, everyone: list[AgentInfo], wanted: AgentFilter, limit: int
    ) -> None:
        # when
        pages = await self.pages(agents, wanted, limit)
        # then
        expected = [info.agent_id for info in everyone if finds(wanted, info)]
        assert [info.agent_id for page in pages for info in page] == expected
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        assert len(pages) == max(1, -(-len(expected) // limit))
        event(f"found: {min(len(expected), 5)}")

    async def test_each_is_as_it_is_by_itself(self, agents: AgentRepository, everyone: list[AgentInfo]) -> None:
        # when
        (page,) = await self.pages(agents, None, 1_000)
        # then
        for found, expected in zip(page, everyone, strict=True):
            assert found.observed_at > expected.observed_at
            assert _without_clock(found) == _without_clock(expected)

    async def test_agents_registered_meanwhile_are_found_behind_the_cursor_alone(
        self, agents: AgentRepository, everyone: list[AgentInfo]
    ) -> None:
        # given the first half
        half = len(everyone) // 2
        first = await agents.search_agents(limit=half)
        assert first.next_cursor is not None
        # when one comes before and one behind it
        before, behind = AgentId("!before"), AgentId("\U0010ffff")
        await agents.register_agents([agent(before), agent(behind)])
        rest = await agents.search_agents(cursor=first.next_cursor)
        # then
        found = [info.agent_id for info in (*first.items, *rest.items)]
        assert found == [*[info.agent_id for info in everyone], behind]

    async def test_cursor_of_another_filter_is_refused(
        self, agents: AgentRepository, everyone: list[AgentInfo]
    ) -> None:
        # given
        cursor = (await agents.search_agents(AgentFilter(scaling_group=GROUP), limit=1)).next_cursor
        assert cursor is not None
        # when / then
        for wanted in (None, AgentFilter(scaling_group=OTHER_GROUP), AgentFilter(id_prefix=GROUP)):
            with pytest.raises(InvalidCursor):
                await agents.search_agents(wanted, 1, cursor)
        for odd in (cursor[:-1], cursor + "A", "", "x" * 5_000, 7, b"x"):
            with pytest.raises(InvalidCursor):
                await agents.search_agents(AgentFilter(scaling_group=GROUP), 1, odd)  # type: ignore[arg-type]

    @pytest.mark.parametrize("limit", [0, -1, 1_001, 2**80, True, 1.0, "7", None])
    async def test_limit_out_of_range_is_refused(self, agents: AgentRepository, limit: object) -> None:
        with pytest.raises(InvalidLimit):
            await agents.search_agents(limit=limit)  # type: ignore[arg-type]
        with pytest.raises(InvalidLimit):
            await agents.list_agents(GROUP, limit)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"colour": "red"}, "unknown field `colour`.*its fields are scaling_group, statuses"),
            ({"statuses": ("BOGUS",)}, "'BOGUS'"),
            ({"statuses": "ALIVE"}, "statuses"),
            ({"statuses": ()}, "AgentFilter.statuses is empty"),
            ({"is_schedulable": 1}, "is_schedulable"),
            ({"scaling_group": 7}, "scaling_group"),
            ({"architecture": ["x86_64"]}, "architecture"),
            ({"id_prefix": "a\0"}, "AgentFilter.id_prefix"),
            ({"scaling_group": "\ud800"}, "AgentFilter.scaling_group"),
        ],
    )
    async def test_filter_of_unknown_fields_or_values_is_refused(
        self, agents: AgentRepository, fields: dict[str, object], message: str
    ) -> None:
        with pytest.raises(InvalidFilter, match=message):
            AgentFilter.of(fields)
        if "colour" not in fields:
            with pytest.raises(InvalidFilter, match=message):
                await agents.search_agents(AgentFilter(**fields))  # type: ignore[arg-type]

    @pytest.mark.parametrize("wanted", [GROUP, {"scaling_group": GROUP}, AgentFilter, 7])
    async def test_what_is_no_filter_is_refused(self, agents: AgentRepository, wanted: object) -> None:
        with pytest.raises(InvalidFilter, match=r"make one with AgentFilter\(\)"):
            await agents.search_agents(wanted)  # type: ignore[arg-type]

    def test_filter_from_the_outside_has_domain_types(self) -> None:
        # when
        wanted = AgentFilter.of({"statuses": ["ALIVE", "LOST"], "scaling_group": "gpu"})
        # then
        assert wanted == AgentFilter(scaling_group=GROUP, statuses=(AgentStatus.ALIVE, AgentStatus.LOST))


def _without_clock(info: AgentInfo) -> dict[str, object]:
    return {name: getattr(info, name) for name in info.__struct_fields__ if name != "observed_at"}
