"""How many statements each method sends: the same for one and for a hundred."""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.agent import AgentFilter
from scheduler_repo.entities.owner import OwnersSpec, UserSpec
from scheduler_repo.entities.scaling_group import ScalingGroupChanges, ScalingGroupGrant, ScalingGroupSpec
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.owner.db_source import OwnerDBSource
from scheduler_repo.repositories.owner.repository import OwnerRepository
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.types import AgentId, DomainName, OwnerScope, ScalingGroupName, UserId
from tests.entities.statement_counter import statements_of
from tests.support.fixtures import Load
from tests.support.small_cluster import ACCESS_KEY, CLOSED_GROUP, GROUP, PROJECT, agent, cluster

Count = Callable[[Awaitable[object]], Awaitable[int]]

# The driver asks the server for types on a connection's first batch; so the first of the three is not counted.
BATCHES: Final = (1, 1, 100)


class TestStatements:
    @pytest.fixture
    def count(self, engine: ExtendedAsyncSAEngine) -> Count:
        return lambda call: statements_of(engine, call)

    async def test_of_agents(self, load: Load, agents: AgentRepository, count: Count) -> None:
        # given
        await load(cluster([agent(f"a{number}") for number in range(250)], []))
        counts: list[list[int]] = []
        for size in BATCHES:
            names = [AgentId(f"a{number}") for number in range(size)]
            # when
            counts.append(
                [
                    await count(agents.get_agent(names[0])),
                    await count(agents.find_agent(AgentId("nobody"))),
                    await count(agents.list_agents(GROUP, size)),
                    await count(agents.list_agents(CLOSED_GROUP, size)),
                    await count(agents.search_agents(AgentFilter(scaling_group=GROUP), size)),
                    await count(agents.set_agents_schedulable(names, False)),
                    await count(agents.set_agents_schedulable(names, False)),
                ]
            )
            await agents.set_agents_schedulable(names, True)
        # then
        assert counts[1] == counts[2] == [2, 2, 2, 2, 2, 4, 4]

    async def test_of_groups(
        self, load: Load, engine: ExtendedAsyncSAEngine, groups: ScalingGroupRepository, count: Count
    ) -> None:
        # given
        await load(cluster([agent(f"a{number}") for number in range(100)], []))
        users = [UserId(UUID(int=100 + number)) for number in range(100)]
        await OwnerRepository(OwnerDBSource(engine)).register_owners(
            OwnersSpec(
                domains=(DomainName("users"),),
                users=tuple(
                    UserSpec(user_id=user, name=str(user), domain_name=DomainName("users")) for user in users
                ),
            )
        )
        counts: list[list[int]] = []
        for size in BATCHES:
            names = [ScalingGroupName(f"{len(counts)}-{number}") for number in range(size)]
            await groups.create_scaling_groups([ScalingGroupSpec(name=name) for name in names])
            grants = [
                ScalingGroupGrant(name, OwnerScope.USER, str(user))
                for name, user in zip(names, users, strict=False)
            ]
            # when
            counts.append(
                [
                    await count(groups.get_scaling_group(GROUP)),
                    await count(groups.list_scaling_groups()),
                    await count(groups.search_scaling_groups(limit=size)),
                    await count(groups.list_slot_types()),
                    await count(groups.get_total_resource_slots(GROUP)),
                    await count(groups.update_scaling_group(GROUP, ScalingGroupChanges(is_active=True))),
                    await count(groups.grant_scaling_groups(grants)),
                    await count(groups.list_scaling_group_grants(names[0])),
                    await count(groups.list_usable_scaling_groups(ACCESS_KEY, PROJECT)),
                    await count(groups.revoke_scaling_groups(grants)),
                ]
            )
        # then
        assert counts[1] == counts[2] == [1, 1, 1, 1, 2, 3, 5, 1, 2, 4]
