"""A small cluster, and writers that keep moving amounts about in it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from random import Random
from typing import Final
from uuid import UUID

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.lifecycle import SessionEnd
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import AgentId, KernelId, ScalingGroupName, SessionId
from tests.support.cluster_rows import ClusterRows, Row, fill
from tests.support.databases import OWNER, Database, DriverConnection

GROUP: Final = ScalingGroupName("gpu")


AGENTS: Final = tuple(AgentId(f"agent-{number}") for number in range(6))


_CAPACITY: Final = 10_000


_OWNERS: Final = 3  # users, and domains


_SHARED: Final = 6  # keys, two of each user, and projects, two of each domain


_PER_WRITER: Final = 4


_WRITERS: Final = 3  # of each kind


def _owners(number: int) -> Row:
    key, project = number % _SHARED, number // _OWNERS % _SHARED
    return {
        "scaling_group": GROUP,
        "access_key": f"key-{key}",
        "user_id": UUID(int=100 + key % _OWNERS),
        "project_id": UUID(int=200 + project),
        "domain_name": f"domain-{project % _OWNERS}",
    }


def session_id(number: int) -> SessionId:
    return SessionId(UUID(int=1_000 + number))


def kernel_id(number: int) -> KernelId:
    return KernelId(UUID(int=9_000 + number))


def _is_running(number: int) -> bool:
    """The first are for the engine's writers, the next run from the start, the last are never placed."""
    return _WRITERS * _PER_WRITER <= number < 2 * _WRITERS * _PER_WRITER


def busy_cluster() -> ClusterRows:
    """Six agents; every session has one kernel; every owner has a session that keeps waiting."""
    numbers = range(2 * _WRITERS * _PER_WRITER + _OWNERS * _SHARED)
    running = [number for number in numbers if _is_running(number)]
    agent_of = {number: AGENTS[number % len(AGENTS)] for number in running}
    amounts_of = {number: [10 + number, 500 - number] for number in numbers}
    occupied = {
        agent: [sum(amounts_of[n][slot] for n in running if agent_of[n] == agent) for slot in (0, 1)]
        for agent in AGENTS
    }
    return {
        "slot_types": [{"name": "cpu", "slot_index": 0}, {"name": "mem", "slot_index": 1}],
        "domains": [{"name": f"domain-{number}"} for number in range(_OWNERS)],
        "projects": [
            {
                "id": UUID(int=200 + number),
                "name": f"project-{number}",
                "domain_name": f"domain-{number % _OWNERS}",
            }
            for number in range(_SHARED)
        ],
        "users": [
            {"id": UUID(int=100 + number), "name": f"user-{number}", "domain_name": "domain-0"}
            for number in range(_OWNERS)
        ],
        "keypairs": [
            {"access_key": f"key-{number}", "user_id": UUID(int=100 + number % _OWNERS)}
            for number in range(_SHARED)
        ],
        "scaling_groups": [{"name": GROUP}],
        "agents": [
            {
                "id": agent,
                "scaling_group": GROUP,
                "address": agent,
                "architecture": "x86_64",
                "container_count": sum(agent_of[number] == agent for number in running),
            }
            for agent in AGENTS
        ],
        "agent_slots": [
            {"agent_id": agent, "slot_name": name, "capacity": _CAPACITY, "occupied": occupied[agent][slot]}
            for agent in AGENTS
            for slot, name in enumerate(("cpu", "mem"))
        ],
        "sessions": [
            {
                "id": session_id(number),
                "name": f"session-{number}",
                "session_type": "BATCH",
                "cluster_mode": "SINGLE_NODE",
                "status": "RUNNING" if number in running else "PENDING",
                "created_at": datetime(2026, 1, 1, tzinfo=UTC),
                **_owners(number),
            }
            for number in numbers
        ],
        "kernels": [
            {
                "id": kernel_id(number),
                "session_id": session_id(number),
                "kernel_index": 0,
                "status": "RUNNING" if number in running else "PENDING",
                "agent_id": agent_of.get(number),
                "requested_slots": amounts_of[number],
                "occupied_slots": amounts_of[number] if number in running else [],
                **_owners(number),
            }
            for number in numbers
        ],
    }


class Writers:
    """Tasks that allocate, release and move; ``commits`` counts what they have committed so far."""

    def __init__(self) -> None:
        self.commits = 0
        self._stopped = False

    async def place_and_release(
        self,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
        connection: DriverConnection,
        number: int,
    ) -> None:
        """Go round: place some sessions by the engine, release them by the engine, queue them again."""
        rng = Random(number)  # noqa: S311 - a workload, not a secret
        numbers = range(number * _PER_WRITER, (number + 1) * _PER_WRITER)
        ids = [session_id(one) for one in numbers]
        while not self._stopped:
            batch = [
                SessionAllocation(session_id(one), (KernelAllocation(kernel_id(one), rng.choice(AGENTS)),))
                for one in numbers
            ]
            placed = await scheduler.allocate_sessions(GROUP, batch)
            self.commits += 1
            released = await lifecycle.mark_terminated([SessionEnd(session_id) for session_id in ids])
            self.commits += 1
            assert placed.allocated == released.changed == tuple(ids)
            async with connection.transaction():
                await connection.execute("UPDATE sessions SET status = 'PENDING' WHERE id = ANY ($1)", ids)
                await connection.execute(
                    "UPDATE kernels SET status = 'PENDING', agent_id = NULL, occupied_slots = '{}'"
                    " WHERE session_id = ANY ($1)",
                    ids,
                )
            self.commits += 1
            # As the loop does; else reads add up all that was ever written here.
            await scheduler.fold_usage()

    async def move(self, connection: DriverConnection, number: int) -> None:
        """Go on moving running kernels to other agents, with their amounts, in plain SQL."""
        rng = Random(number)  # noqa: S311 - a workload, not a secret
        first = (_WRITERS + number) * _PER_WRITER
        while not self._stopped:
            moved = kernel_id(first + rng.randrange(_PER_WRITER))
            async with connection.transaction():
                kernel = await connection.fetchrow("SELECT * FROM kernels WHERE id = $1", moved)
                source, target = kernel["agent_id"], rng.choice(AGENTS)
                both = sorted({source, target})
                for table, key in (("agents", "id"), ("agent_slots", "agent_id, slot_name")):
                    await connection.execute(
                        f"SELECT FROM {table} WHERE {key.split(',')[0]} = ANY ($1::text[])"
                        f" ORDER BY {key} FOR NO KEY UPDATE",
                        both,
                    )
                for agent, sign in ((source, -1), (target, 1)):
                    await connection.execute(
                        "UPDATE agents SET container_count = container_count + $2 WHERE id = $1", agent, sign
                    )
                    for name, amount in zip(("cpu", "mem"), kernel["occupied_slots"], strict=True):
                        await connection.execute(
                            "UPDATE agent_slots SET occupied = occupied + $3"
                            " WHERE agent_id = $1 AND slot_name = $2",
                            agent,
                            name,
                            sign * amount,
                        )
                await connection.execute("UPDATE kernels SET agent_id = $2 WHERE id = $1", moved, target)
            self.commits += 1

    def stop(self) -> None:
        """Let each writer end its round."""
        self._stopped = True


@asynccontextmanager
async def writers_at_work(database: Database, writing_engine: ExtendedAsyncSAEngine) -> AsyncIterator[Writers]:
    """Fill a database and have it written to meanwhile; a writer's failure is raised at the end."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(database.driver_as(OWNER)) for _ in range(2 * _WRITERS)]
        await fill(connections[0], busy_cluster())
        writers = Writers()
        scheduler, lifecycle = (
            SchedulerRepository(SchedulerDBSource(writing_engine)),
            LifecycleRepository(LifecycleDBSource(writing_engine)),
        )
        work: list[Coroutine[None, None, None]] = [
            *(writers.place_and_release(scheduler, lifecycle, connections[n], n) for n in range(_WRITERS)),
            *(writers.move(connections[_WRITERS + n], n) for n in range(_WRITERS)),
        ]
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
            try:
                yield writers
            finally:
                writers.stop()
