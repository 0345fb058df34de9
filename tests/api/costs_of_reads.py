"""The statement counts of the reads."""

from collections.abc import Awaitable

from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from tests.api.statement_table import costs
from tests.api.world import World
from tests.support.small_cluster import GROUP


def _scheduler(world: World) -> SchedulerRepository:
    return SchedulerRepository(SchedulerDBSource(world.engine))


@costs("LifecycleRepository.list_undispatched_sessions", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.scheduled(size)
    return LifecycleRepository(LifecycleDBSource(world.engine)).list_undispatched_sessions(GROUP)


@costs("SchedulerRepository.get_scheduling_data", 13)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.pending(size)
    return _scheduler(world).get_scheduling_data(GROUP)


@costs("SchedulerRepository.get_timed_scheduling_data", 13)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.pending(size)
    return _scheduler(world).get_timed_scheduling_data(GROUP, pending_limit=size)


@costs("SchedulerRepository.fold_usage", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.running(size)
    return _scheduler(world).fold_usage()


@costs("SchedulerRepository.trim_changes", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.running(size)
    return _scheduler(world).trim_changes()


@costs("SchedulerRepository.count_overcommitted_agents", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.running(size)
    return _scheduler(world).count_overcommitted_agents(GROUP)
