"""The statement counts of asking for agents and scaling groups, and of changing their options."""

from collections.abc import Awaitable

from scheduler_repo.entities.owner import OwnersSpec
from scheduler_repo.entities.scaling_group import ScalingGroupChanges, ScalingGroupGrant, ScalingGroupSpec
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.owner.db_source import OwnerDBSource
from scheduler_repo.repositories.owner.repository import OwnerRepository
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.types import AgentId, DomainName, OwnerScope, ScalingGroupName
from tests.api.statement_table import costs
from tests.api.world import World
from tests.support.small_cluster import ACCESS_KEY, DOMAIN, GROUP, OTHER_GROUP, PROJECT


def _agents(world: World) -> AgentRepository:
    return AgentRepository(AgentDBSource(world.engine))


def _groups(world: World) -> ScalingGroupRepository:
    return ScalingGroupRepository(ScalingGroupDBSource(world.engine))


async def _created(world: World, size: int) -> tuple[ScalingGroupGrant, ...]:
    """Create so many groups that are not public; return what would let the domain use them."""
    names = [ScalingGroupName(f"pool-{number}") for number in world.numbers(size)]
    await _groups(world).create_scaling_groups([ScalingGroupSpec(name=name, is_public=False) for name in names])
    return tuple(ScalingGroupGrant(name, OwnerScope.DOMAIN, DOMAIN) for name in names)


@costs("AgentRepository.get_agent", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    (agent_id, *_) = await world.registered(size)
    return _agents(world).get_agent(agent_id)


@costs("AgentRepository.find_agent", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    (agent_id, *_) = await world.registered(size)
    return _agents(world).find_agent(agent_id)


@costs("AgentRepository.find_agent, nobody's id", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    return _agents(world).find_agent(AgentId("nobody"))


@costs("AgentRepository.list_agents, of a group without any", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    return _agents(world).list_agents(OTHER_GROUP, limit=size)


@costs("AgentRepository.set_agents_schedulable, as they are", 6)
async def _(world: World, size: int) -> Awaitable[object]:
    agent_ids = await world.registered(size)
    await _agents(world).set_agents_schedulable(agent_ids, False)
    return _agents(world).set_agents_schedulable(agent_ids, False)


@costs("AgentRepository.list_agents", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.registered(size)
    return _agents(world).list_agents(GROUP, limit=size)


@costs("AgentRepository.search_agents", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.registered(size)
    return _agents(world).search_agents(limit=size)


@costs("AgentRepository.set_agents_schedulable", 6)
async def _(world: World, size: int) -> Awaitable[object]:
    return _agents(world).set_agents_schedulable(await world.registered(size), False)


@costs("ScalingGroupRepository.get_scaling_group", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _groups(world).get_scaling_group(GROUP)


@costs("ScalingGroupRepository.find_scaling_group", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _groups(world).find_scaling_group(GROUP)


@costs("ScalingGroupRepository.list_scaling_groups", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await _created(world, size)
    return _groups(world).list_scaling_groups()


@costs("ScalingGroupRepository.search_scaling_groups", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await _created(world, size)
    return _groups(world).search_scaling_groups(limit=size)


@costs("ScalingGroupRepository.list_slot_types", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _groups(world).list_slot_types()


@costs("ScalingGroupRepository.get_total_resource_slots", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.registered(size)
    return _groups(world).get_total_resource_slots(GROUP)


@costs("ScalingGroupRepository.list_usable_scaling_groups", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    await _groups(world).grant_scaling_groups(await _created(world, size))
    return _groups(world).list_usable_scaling_groups(ACCESS_KEY, PROJECT)


@costs("ScalingGroupRepository.list_scaling_group_grants", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    domains = tuple(DomainName(f"domain-{number}") for number in world.numbers(size))
    await OwnerRepository(OwnerDBSource(world.engine)).register_owners(OwnersSpec(domains=domains))
    grants = [ScalingGroupGrant(OTHER_GROUP, OwnerScope.DOMAIN, domain) for domain in domains]
    await _groups(world).grant_scaling_groups(grants)
    return _groups(world).list_scaling_group_grants(OTHER_GROUP)


@costs("ScalingGroupRepository.grant_scaling_groups", 7)
async def _(world: World, size: int) -> Awaitable[object]:
    return _groups(world).grant_scaling_groups(await _created(world, size))


@costs("ScalingGroupRepository.revoke_scaling_groups", 6)
async def _(world: World, size: int) -> Awaitable[object]:
    grants = await _created(world, size)
    await _groups(world).grant_scaling_groups(grants)
    return _groups(world).revoke_scaling_groups(grants)


@costs("ScalingGroupRepository.update_scaling_group", 5)
async def _(world: World, size: int) -> Awaitable[object]:
    return _groups(world).update_scaling_group(OTHER_GROUP, ScalingGroupChanges(is_active=False))
