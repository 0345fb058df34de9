"""The statement counts of the writes: a batch costs what one entity costs."""

from collections.abc import Awaitable
from datetime import timedelta

from scheduler_repo.entities.agent import AgentReport
from scheduler_repo.entities.allocation import KernelAllocation
from scheduler_repo.entities.lifecycle import (
    LostSessionAction,
    SessionAttempt,
    SessionEnd,
    SessionRetry,
    SessionStart,
)
from scheduler_repo.entities.reservation import SessionReservation
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.reservation.db_source import ReservationDBSource
from scheduler_repo.repositories.reservation.repository import ReservationRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.types import AgentId
from tests.api.statement_table import costs
from tests.api.world import LARGE, World
from tests.support.small_cluster import CPU, GROUP, MEM, agent, kernel_id, place, session, session_id


def _agents(world: World) -> AgentRepository:
    return AgentRepository(AgentDBSource(world.engine))


def _lifecycle(world: World) -> LifecycleRepository:
    return LifecycleRepository(LifecycleDBSource(world.engine))


def _reservations(world: World) -> ReservationRepository:
    return ReservationRepository(ReservationDBSource(world.engine))


def _reservation(number: int) -> SessionReservation:
    return SessionReservation(session_id(number), (KernelAllocation(kernel_id(number), AgentId(LARGE)),))


@costs("AgentRepository.register_agents", 8)
async def _(world: World, size: int) -> Awaitable[object]:
    return _agents(world).register_agents([agent(agent_id) for agent_id in world.agent_ids(size)])


@costs("AgentRepository.record_heartbeats", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _agents(world).record_heartbeats(await world.registered(size))


@costs("AgentRepository.mark_lost_agents", 7)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.registered(size)
    return _agents(world).mark_lost_agents(GROUP, timedelta(microseconds=1))


@costs("AgentRepository.drain_agents", 9)
async def _(world: World, size: int) -> Awaitable[object]:
    return _agents(world).drain_agents(await world.registered(size))


@costs("AgentRepository.resume_agents", 9)
async def _(world: World, size: int) -> Awaitable[object]:
    agent_ids = await world.registered(size)
    await _agents(world).drain_agents(agent_ids)
    return _agents(world).resume_agents(agent_ids)


@costs("AgentRepository.terminate_agents", 9)
async def _(world: World, size: int) -> Awaitable[object]:
    return _agents(world).terminate_agents(await world.registered(size))


@costs("AgentRepository.return_agents", 11)
async def _(world: World, size: int) -> Awaitable[object]:
    reports = [AgentReport(agent_id, {CPU: 11, MEM: 7}) for agent_id in await world.registered(size)]
    return _agents(world).return_agents(reports)


@costs("LifecycleRepository.mark_preparing", 12)
async def _(world: World, size: int) -> Awaitable[object]:
    return _lifecycle(world).mark_preparing(await world.scheduled(size))


@costs("LifecycleRepository.mark_running", 13)
async def _(world: World, size: int) -> Awaitable[object]:
    session_ids = await world.scheduled(size)
    await _lifecycle(world).mark_preparing(session_ids)
    return _lifecycle(world).mark_running([SessionStart(session_id) for session_id in session_ids])


@costs("LifecycleRepository.mark_terminating", 12)
async def _(world: World, size: int) -> Awaitable[object]:
    return _lifecycle(world).mark_terminating(await world.running(size))


@costs("LifecycleRepository.mark_terminated", 12)
async def _(world: World, size: int) -> Awaitable[object]:
    session_ids = await world.running(size)
    await _lifecycle(world).mark_terminating(session_ids)
    return _lifecycle(world).mark_terminated([SessionEnd(session_id) for session_id in session_ids])


@costs("LifecycleRepository.mark_cancelled", 12)
async def _(world: World, size: int) -> Awaitable[object]:
    return _lifecycle(world).mark_cancelled(await world.scheduled(size))


@costs("LifecycleRepository.mark_error", 12)
async def _(world: World, size: int) -> Awaitable[object]:
    return _lifecycle(world).mark_error(await world.running(size))


@costs("LifecycleRepository.requeue_sessions", 13)
async def _(world: World, size: int) -> Awaitable[object]:
    retries = [SessionRetry(session_id, (AgentId(LARGE),)) for session_id in await world.scheduled(size)]
    return _lifecycle(world).requeue_sessions(retries)


@costs("LifecycleRepository.mark_dispatched", 6)
async def _(world: World, size: int) -> Awaitable[object]:
    attempts = [SessionAttempt(session_id, 0) for session_id in await world.scheduled(size)]
    return _lifecycle(world).mark_dispatched(attempts)


@costs("LifecycleRepository.sweep_pending_sessions", 13)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.pending(size)
    await world.allow_pending_for(timedelta(microseconds=1))
    return _lifecycle(world).sweep_pending_sessions(GROUP)


@costs("LifecycleRepository.recover_lost_sessions", 26)
async def _(world: World, size: int) -> Awaitable[object]:
    agent_ids = await world.registered(size)
    # Half of the sessions are told to end: these fail, the others go back to the queue.
    session_ids = await world.running(2 * size, agent_ids)
    await _lifecycle(world).mark_terminating(session_ids[size:])
    await world.lose(agent_ids)
    return _lifecycle(world).recover_lost_sessions(GROUP, LostSessionAction.REQUEUE)


@costs("ReservationRepository.reserve_sessions", 21)
async def _(world: World, size: int) -> Awaitable[object]:
    return _reservations(world).reserve_sessions(
        GROUP, [_reservation(number) for number in await world.pending(size)]
    )


@costs("ReservationRepository.release_reservations", 6)
async def _(world: World, size: int) -> Awaitable[object]:
    numbers = await world.pending(size)
    await _reservations(world).reserve_sessions(GROUP, [_reservation(number) for number in numbers])
    return _reservations(world).release_reservations([session_id(number) for number in numbers])


@costs("SchedulerRepository.allocate_sessions", 19)
async def _(world: World, size: int) -> Awaitable[object]:
    allocations = [place(number, LARGE) for number in await world.pending(size)]
    return SchedulerRepository(SchedulerDBSource(world.engine)).allocate_sessions(GROUP, allocations)


@costs("SessionRepository.enqueue_sessions", 10)
async def _(world: World, size: int) -> Awaitable[object]:
    (first,) = await world.pending(1)
    specs = [session(number, 1, depends_on=(session_id(first),)) for number in world.numbers(size)]
    return SessionRepository(SessionDBSource(world.engine)).enqueue_sessions(specs)
