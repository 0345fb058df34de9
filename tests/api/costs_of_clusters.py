"""The statement counts of what makes, watches and tidies a cluster."""

from collections.abc import Awaitable
from datetime import timedelta

from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.owner import OwnersSpec
from scheduler_repo.entities.scaling_group import ScalingGroupSpec
from scheduler_repo.entities.slot_type import SlotTypeSpec
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.retention.db_source import RetentionDBSource
from scheduler_repo.repositories.retention.repository import RetentionRepository
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.types import LeaseHolder, ScalingGroupName, SlotName
from tests.api.statement_table import costs
from tests.api.world import World
from tests.support.small_cluster import GROUP, agent, session

_TTL = timedelta(seconds=30)


def _leases(world: World) -> LeaseRepository:
    return LeaseRepository(LeaseDBSource(world.engine))


def _groups(world: World, size: int) -> tuple[ScalingGroupSpec, ...]:
    names = [ScalingGroupName(f"group-{number}") for number in world.numbers(size)]
    return tuple(ScalingGroupSpec(name=name) for name in names)


@costs("AuditRepository.audit", 26)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.running(size)
    return AuditRepository(AuditDBSource(world.engine)).audit()


@costs("AuditRepository.rebuild_usage", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.running(size)
    return AuditRepository(AuditDBSource(world.engine)).rebuild_usage()


@costs("AuditRepository.repair_counters", 8)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.drift(await world.registered(size))
    return AuditRepository(AuditDBSource(world.engine)).repair_counters()


@costs("ClusterRepository.load_cluster", 13)
async def _(world: World, size: int) -> Awaitable[object]:
    spec = ClusterSpec(
        slot_types=(),
        scaling_groups=_groups(world, size),
        agents=tuple(agent(agent_id) for agent_id in world.agent_ids(size)),
        owners=OwnersSpec(),
        sessions=tuple(session(number, 1) for number in world.numbers(size)),
    )
    return ClusterRepository(ClusterDBSource(world.engine)).load_cluster(spec)


@costs("LeaseRepository.acquire_lease", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _leases(world).acquire_lease(GROUP, LeaseHolder("one"), _TTL)


@costs("LeaseRepository.renew_lease", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _leases(world).renew_lease(await _leases(world).acquire_lease(GROUP, LeaseHolder("one"), _TTL), _TTL)


@costs("LeaseRepository.release_lease", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _leases(world).release_lease(await _leases(world).acquire_lease(GROUP, LeaseHolder("one"), _TTL))


@costs("RetentionRepository.count_purgeable", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    return RetentionRepository(RetentionDBSource(world.engine)).count_purgeable(timedelta(hours=1))


@costs("ScalingGroupRepository.create_scaling_groups", 5)
async def _(world: World, size: int) -> Awaitable[object]:
    return ScalingGroupRepository(ScalingGroupDBSource(world.engine)).create_scaling_groups(
        _groups(world, size)
    )


@costs("ScalingGroupRepository.register_slot_types", 7)
async def _(world: World, size: int) -> Awaitable[object]:
    # There are 64 at most.
    slot_types = [SlotTypeSpec(name=SlotName(f"slot-{number}")) for number in world.numbers(min(size, 50))]
    return ScalingGroupRepository(ScalingGroupDBSource(world.engine)).register_slot_types(slot_types)
