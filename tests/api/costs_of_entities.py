"""The statement counts of asking for sessions, kernels, vfolders and history, and of making some."""

from collections.abc import Awaitable

import msgspec

from scheduler_repo.entities.session import SessionFilter
from scheduler_repo.entities.vfolder import MountSpec, VFolderSpec
from scheduler_repo.repositories.history.db_source import HistoryDBSource
from scheduler_repo.repositories.history.repository import HistoryRepository
from scheduler_repo.repositories.kernel.db_source import KernelDBSource
from scheduler_repo.repositories.kernel.repository import KernelRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.repositories.vfolder.db_source import VFolderDBSource
from scheduler_repo.repositories.vfolder.repository import VFolderRepository
from scheduler_repo.types import AgentId, SessionStatus
from tests.api.statement_table import costs
from tests.api.world import LARGE, World
from tests.support.small_cluster import ACCESS_KEY, GROUP, PROJECT, USER, kernel_id, session, session_id


def _sessions(world: World) -> SessionRepository:
    return SessionRepository(SessionDBSource(world.engine))


def _kernels(world: World) -> KernelRepository:
    return KernelRepository(KernelDBSource(world.engine))


def _vfolders(world: World) -> VFolderRepository:
    return VFolderRepository(VFolderDBSource(world.engine))


def _history(world: World) -> HistoryRepository:
    return HistoryRepository(HistoryDBSource(world.engine))


def _vfolder(number: int) -> VFolderSpec:
    return VFolderSpec(name=f"data-{number}", host="nas", user_id=USER)


def _vfolder_of_project(number: int) -> VFolderSpec:
    return VFolderSpec(name=f"data-{number}", host="nas", project_id=PROJECT)


async def _rich_session(world: World, size: int) -> int:
    """Enqueue a session with so many kernels, dependencies and mounts."""
    others = await world.pending(size)
    vfolders = [_vfolder(number) for number in range(size)]
    await _vfolders(world).create_vfolders(vfolders)
    mounts = [
        MountSpec(vfolder_id=vfolder.vfolder_id, mount_path=f"/mnt/{index}")
        for index, vfolder in enumerate(vfolders)
    ]
    (number,) = world.numbers(1)
    spec = session(number, *[1] * min(size, 99), depends_on=tuple(session_id(other) for other in others))
    await _sessions(world).enqueue_sessions([msgspec.structs.replace(spec, mounts=tuple(mounts))])
    return number


@costs("SessionRepository.get_session_by_id", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _sessions(world).get_session_by_id(session_id(await _rich_session(world, size)))


@costs("SessionRepository.find_session", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _sessions(world).find_session(session_id(await _rich_session(world, size)))


@costs("SessionRepository.get_session_info", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _sessions(world).get_session_info(session_id(await _rich_session(world, size)))


@costs("SessionRepository.get_session_state", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _sessions(world).get_session_state(session_id(await _rich_session(world, size)))


@costs("SessionRepository.get_session_with_dependencies", 7)
async def _(world: World, size: int) -> Awaitable[object]:
    return _sessions(world).get_session_with_dependencies(session_id(await _rich_session(world, size)))


@costs("SessionRepository.list_sessions_by_access_key", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.pending(size)
    return _sessions(world).list_sessions_by_access_key(ACCESS_KEY, size)


@costs("SessionRepository.search_sessions", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.pending(size)
    return _sessions(world).search_sessions(SessionFilter(), limit=size)


@costs("SessionRepository.count_active_sessions_by_scaling_group", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.running(size)
    return _sessions(world).count_active_sessions_by_scaling_group(GROUP)


@costs("SessionRepository.list_locked_rows", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    (number,) = await world.pending(1)
    return _sessions(world).list_locked_rows(session_id(number))


@costs("SessionRepository.create_session", 10)
async def _(world: World, size: int) -> Awaitable[object]:
    (number,) = world.numbers(1)
    return _sessions(world).create_session(session(number, *[1] * min(size, 99)))


@costs("SessionRepository.create_sessions", 10)
async def _(world: World, size: int) -> Awaitable[object]:
    # Half of them are there already, and are refused.
    numbers = [*await world.pending(size), *world.numbers(size)]
    return _sessions(world).create_sessions([session(number, 1) for number in numbers])


@costs("SessionRepository.create_sessions, with kernels that are others'", 10)
async def _(world: World, size: int) -> Awaitable[object]:
    specs = [session(number, 1) for number in await world.pending(size)]
    taken = zip(specs, world.numbers(size), strict=True)
    return _sessions(world).create_sessions(
        [msgspec.structs.replace(spec, session_id=session_id(number)) for spec, number in taken]
    )


@costs("SessionRepository.update_status, of many kernels", 12)
async def _(world: World, size: int) -> Awaitable[object]:
    (number,) = world.numbers(1)
    await _sessions(world).create_session(session(number, *[1] * min(size, 99)))
    return _sessions(world).update_status(session_id(number), SessionStatus.CANCELLED)


@costs("SessionRepository.update_status", 12)
async def _(world: World, size: int) -> Awaitable[object]:
    (number, *_) = await world.pending(size)
    return _sessions(world).update_status(session_id(number), SessionStatus.CANCELLED)


@costs("KernelRepository.get_kernel_by_id", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    (number, *_) = await world.pending(size)
    return _kernels(world).get_kernel_by_id(kernel_id(number))


@costs("KernelRepository.find_kernel", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    (number, *_) = await world.pending(size)
    return _kernels(world).find_kernel(kernel_id(number))


@costs("KernelRepository.list_kernels_by_session", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _kernels(world).list_kernels_by_session(session_id(await _rich_session(world, size)))


@costs("KernelRepository.search_kernels_by_agent", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.running(size)
    return _kernels(world).search_kernels_by_agent(AgentId(LARGE), size)


@costs("VFolderRepository.create_vfolders", 5)
async def _(world: World, size: int) -> Awaitable[object]:
    return _vfolders(world).create_vfolders([_vfolder(number) for number in range(size)])


@costs("VFolderRepository.get_vfolder_by_id", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    (vfolder_id, *_) = await _vfolders(world).create_vfolders([_vfolder(number) for number in range(size)])
    return _vfolders(world).get_vfolder_by_id(vfolder_id)


@costs("VFolderRepository.find_vfolder", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    (vfolder_id, *_) = await _vfolders(world).create_vfolders([_vfolder(number) for number in range(size)])
    return _vfolders(world).find_vfolder(vfolder_id)


@costs("VFolderRepository.search_vfolders_by_user", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await _vfolders(world).create_vfolders([_vfolder(number) for number in range(size)])
    return _vfolders(world).search_vfolders_by_user(USER, size)


@costs("VFolderRepository.search_vfolders_by_project", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await _vfolders(world).create_vfolders([_vfolder_of_project(number) for number in range(size)])
    return _vfolders(world).search_vfolders_by_project(PROJECT, size)


@costs("VFolderRepository.list_mounts_by_session", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _vfolders(world).list_mounts_by_session(session_id(await _rich_session(world, size)))


@costs("HistoryRepository.list_session_history", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    (session_id, *_) = await world.running(size)
    return _history(world).list_session_history(session_id)


@costs("HistoryRepository.list_agent_history", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    (agent_id, *_) = await world.registered(size)
    return _history(world).list_agent_history(agent_id)


@costs("HistoryRepository.search_agent_history", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.registered(size)
    return _history(world).search_agent_history(limit=size)
