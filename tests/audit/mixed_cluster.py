"""Sessions in every state that a check looks at, put there by the engine's own writes."""

from collections.abc import Awaitable, Callable
from typing import Final

from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.lifecycle import SessionAttempt, SessionEnd, SessionStart
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import AgentId, ClusterMode, SessionResult
from tests.support.databases import DriverConnection
from tests.support.small_cluster import (
    CPU,
    GROUP,
    MEM,
    X86,
    agent,
    cluster,
    kernel_id,
    place,
    session,
    session_id,
)

A1: Final = AgentId("a1")
A2: Final = AgentId("a2")
IDLE: Final = AgentId("idle")

# The sessions, by number.
SPREAD: Final = 1  # SCHEDULED, on a1 (2 cores) and a2 (3)
SINGLE: Final = 2  # RUNNING, both kernels (1 core each) on a1
WAITING: Final = 3  # PENDING
RESERVED: Final = 4  # PENDING, with two kernels, reserved on a1
ENDED: Final = 5  # TERMINATED, was on a2
DESIGNATED: Final = 6  # PREPARING and dispatched, on a1 (1 core), as it asks
BUILT: Final = 7  # SCHEDULED, on a2 (1 core), whose architecture it is built for
DEPENDENT: Final = 8  # PENDING, until SPREAD has ended
FRUGAL: Final = 9  # RUNNING, on a2, with 1 of its 4 cores

# Each kernel has one of memory.
HELD_CPU: Final = {A1: 2 + 1 + 1 + 1, A2: 3 + 1 + 1}
HELD_MEM: Final = {A1: 4, A2: 3}
CONTAINERS: Final = {A1: 4, A2: 3}


async def fill_mixed(
    load: Callable[[ClusterSpec], Awaitable[None]],
    scheduler: SchedulerRepository,
    lifecycle: LifecycleRepository,
    owner_connection: DriverConnection,
) -> None:
    """Load two agents that work, one that is idle, and the sessions above."""
    single, dependency = ClusterMode.SINGLE_NODE, (session_id(SPREAD),)
    await load(
        cluster(
            [agent(A1), agent(A2, max_containers=8), agent(IDLE)],
            [
                session(SPREAD, 2, 3),
                session(SINGLE, 1, 1, cluster_mode=single),
                session(WAITING, 1),
                session(RESERVED, 5, 5),
                session(ENDED, 1),
                session(DESIGNATED, 1, designated=(A1,)),
                session(BUILT, 1, architecture=X86),
                session(DEPENDENT, 1, depends_on=dependency),
                session(FRUGAL, 4),
            ],
        )
    )
    placements = [
        place(SPREAD, A1, A2),
        place(SINGLE, A1, A1),
        place(ENDED, A2),
        place(DESIGNATED, A1),
        place(BUILT, A2),
        place(FRUGAL, A2),
    ]
    placed = await scheduler.allocate_sessions(GROUP, placements)
    assert len(placed.allocated) == len(placements)
    await lifecycle.mark_dispatched([SessionAttempt(session_id(DESIGNATED), 0)])
    await lifecycle.mark_preparing([session_id(number) for number in (SINGLE, ENDED, DESIGNATED, FRUGAL)])
    used = {kernel_id(FRUGAL): {CPU: 1, MEM: 1}}
    running = await lifecycle.mark_running(
        [
            SessionStart(session_id(SINGLE)),
            SessionStart(session_id(ENDED)),
            SessionStart(session_id(FRUGAL), used),
        ]
    )
    assert not running.rejected
    await lifecycle.mark_terminated([SessionEnd(session_id(ENDED), SessionResult.SUCCESS)])
    reserved = session_id(RESERVED)
    await owner_connection.execute(
        "INSERT INTO reservations (session_id, scaling_group) VALUES ($1, $2)", reserved, GROUP
    )
    await owner_connection.execute(
        "INSERT INTO kernel_reservations (kernel_id, session_id, agent_id)"
        " SELECT id, session_id, $2 FROM kernels WHERE session_id = $1",
        reserved,
        A1,
    )
