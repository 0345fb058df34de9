"""Loading clusters: groups, agents and owners as any host loads them, sessions by COPY."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, Optional

import asyncpg

from bench.data.cluster import Shape, make_surroundings
from bench.data.indexes import without_indexes
from bench.data.place import Place
from bench.data.rows import (
    DEPENDENCY_COLUMNS,
    HISTORY_COLUMNS,
    KERNEL_COLUMNS,
    SESSION_COLUMNS,
    SessionRows,
)
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.types import ScalingGroupName, SessionStatus

# Called with the number of sessions loaded so far.
OnLoaded = Callable[[int], None]
_SESSION_TABLES: Final = ("sessions", "kernels", "session_dependencies", "session_history")
_CHANGED_TABLES: Final = ", ".join(
    (*_SESSION_TABLES, "agents", "agent_slots", "quotas", "owner_usage", "usage_log", "change_log")
)
# From so many on it pays to make the indexes anew.
_MANY_SESSIONS: Final = 20_000
_ADD_OCCUPIED: Final = """
UPDATE agent_slots AS s SET occupied = given.occupied
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (agent_id, slot_name, occupied)
WHERE s.agent_id = given.agent_id AND s.slot_name = given.slot_name
"""
_ADD_CONTAINERS: Final = """
UPDATE agents AS a SET container_count = given.containers
FROM unnest($1::text[], $2::int[]) AS given (agent_id, containers) WHERE a.id = given.agent_id
"""


class ClusterLoader:
    """Loads one synthetic cluster into a place, and adds more sessions to it later."""

    def __init__(self, place: Place, shape: Shape) -> None:
        """Make what is not sessions; nothing is loaded yet."""
        self._place = place
        self._shape = shape
        self._surroundings = make_surroundings(shape)
        self._rows = SessionRows(shape, self._surroundings)

    async def load(self, on_loaded: OnLoaded = lambda sessions: None) -> None:
        """Load everything that the shape says; what a session depends on is loaded before it."""
        await load_spec(self._place, self._surroundings.cluster)
        size = self._shape.size
        ended = self._shared_out(SessionStatus.TERMINATED, size.finished)
        running = self._shared_out(SessionStatus.RUNNING, size.running)
        pending = self._shared_out(SessionStatus.PENDING, size.pending)
        await self._copy([*ended, *running, *pending], on_loaded)

    async def add(
        self,
        status: SessionStatus,
        count: int,
        group: Optional[ScalingGroupName] = None,
        on_loaded: OnLoaded = lambda sessions: None,
    ) -> None:
        """Add sessions, all PENDING, RUNNING or TERMINATED, to one group or shared out among all."""
        counts = self._shared_out(status, count) if group is None else [(group, status, count)]
        await self._copy(counts, on_loaded)

    def _shared_out(
        self, status: SessionStatus, count: int
    ) -> list[tuple[ScalingGroupName, SessionStatus, int]]:
        shares = zip(self._shape.groups, self._shape.split(count), strict=True)
        return [(group, status, of_group) for group, of_group in shares]

    async def _copy(
        self,
        counts: Sequence[tuple[ScalingGroupName, SessionStatus, int]],
        on_loaded: OnLoaded,
    ) -> None:
        done, dependencies = 0, []
        async with self._place.administering() as driver:
            # Lost after a crash, like the whole cluster.
            await driver.execute("SET synchronous_commit = off")
            async with AsyncExitStack() as stack:
                if sum(count for _, _, count in counts) >= _MANY_SESSIONS:
                    await stack.enter_async_context(without_indexes(driver, *_SESSION_TABLES))
                for group, status, count in counts:
                    for chunk in self._rows.make(group, status, count):
                        await _copy_lines(driver, "sessions", SESSION_COLUMNS, chunk.session_lines)
                        await _copy_lines(driver, "kernels", KERNEL_COLUMNS, chunk.kernel_lines)
                        await _copy_lines(driver, "session_history", HISTORY_COLUMNS, chunk.history_lines)
                        dependencies.append(chunk.dependency_lines)
                        done += chunk.sessions
                        on_loaded(done)
            # Their trigger looks each session up by its key.
            await _copy_lines(driver, "session_dependencies", DEPENDENCY_COLUMNS, b"".join(dependencies))
        await self._settle()

    async def _settle(self) -> None:
        """Bring the agents' counters into line, and the tables into the state in which they are measured."""
        loads = self._rows.loads
        slot_names = [slot_type.name for slot_type in self._surroundings.cluster.slot_types]
        rows = [
            (agent_id, name, amount)
            for agent_id, occupied in loads.occupied.items()
            for name, amount in zip(slot_names, occupied, strict=True)
        ]
        async with self._place.administering() as driver:
            async with driver.transaction():
                await driver.execute(_ADD_OCCUPIED, *([row[at] for row in rows] for at in range(3)))
                await driver.execute(_ADD_CONTAINERS, list(loads.containers), list(loads.containers.values()))
            # As a scheduler's loop does, several times a second.
            await driver.execute("SELECT fold_usage(2147483647)", timeout=None)
            await driver.execute(f"VACUUM (ANALYZE) {_CHANGED_TABLES}", timeout=None)


async def load_spec(place: Place, cluster: ClusterSpec, on_loaded: OnLoaded = lambda sessions: None) -> None:
    """Load a cluster as any host does; on_loaded is called with the sessions loaded so far."""
    async with place.engine(statement_timeout=600) as engine:
        repository = ClusterRepository(ClusterDBSource(engine))
        await repository.load_cluster(cluster, lambda agents, sessions: on_loaded(sessions))


async def _copy_lines(
    driver: "asyncpg.Connection[asyncpg.Record]", table: str, columns: Sequence[str], lines: bytes
) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield lines

    if lines:
        await driver.copy_to_table(table, source=source(), columns=columns, format="text", timeout=None)
