"""The unfinished work of a cluster as it was, so that every turn of a write starts from the same state."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from bench.data.place import Place
from scheduler_repo.types import SessionId

_SAVE: Final = """
CREATE TABLE bench_sessions AS
    SELECT id, status, result, retry_count, dispatched_at, status_changed_at FROM sessions
    WHERE status IN ('PENDING', 'SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING');
CREATE TABLE bench_kernels AS
    SELECT k.id, k.status, k.agent_id, k.occupied_slots, k.exit_code, k.status_changed_at
    FROM kernels AS k JOIN bench_sessions AS s ON s.id = k.session_id;
CREATE TABLE bench_slots AS SELECT agent_id, slot_name, occupied FROM agent_slots;
CREATE TABLE bench_agents AS SELECT id, container_count FROM agents;
CREATE TABLE bench_mark AS SELECT coalesce(max(id), 0) AS history_id FROM session_history;
"""
_RESTORE: Final = (
    """
    UPDATE kernels AS k
    SET (status, agent_id, occupied_slots, exit_code, status_changed_at) =
        (b.status, b.agent_id, b.occupied_slots, b.exit_code, b.status_changed_at)
    FROM bench_kernels AS b WHERE b.id = k.id AND b.status_changed_at <> k.status_changed_at
    """,
    """
    UPDATE sessions AS s
    SET (status, result, retry_count, dispatched_at, status_changed_at) =
        (b.status, b.result, b.retry_count, b.dispatched_at, b.status_changed_at)
    FROM bench_sessions AS b WHERE b.id = s.id AND b.status_changed_at <> s.status_changed_at
    """,
    """
    UPDATE agent_slots AS s SET occupied = b.occupied
    FROM bench_slots AS b
    WHERE b.agent_id = s.agent_id AND b.slot_name = s.slot_name AND b.occupied <> s.occupied
    """,
    """
    UPDATE agents AS a SET container_count = b.container_count
    FROM bench_agents AS b WHERE b.id = a.id AND b.container_count <> a.container_count
    """,
    "DELETE FROM session_history WHERE id > (SELECT history_id FROM bench_mark)",
    "TRUNCATE operations",
)
_CREATED: Final = "DELETE FROM sessions WHERE id = ANY ($1::uuid[])"
_FOLD: Final = "SELECT fold_usage()"
_VACUUM: Final = (
    "VACUUM sessions, kernels, session_history, agent_slots, agents, agent_heartbeats, "
    "owner_usage, usage_log, change_log"
)
_DROP: Final = "DROP TABLE bench_sessions, bench_kernels, bench_slots, bench_agents, bench_mark"


class SavedState:
    """The state of a place when ``saved_state`` was entered. Takes the time of a batch to restore."""

    def __init__(self, driver: "asyncpg.Connection[asyncpg.Record]", *, may_checkpoint: bool) -> None:
        """Made by ``saved_state``, with a connection of the tables' owner."""
        self._driver = driver
        self._may_checkpoint = may_checkpoint

    async def restore(self, created: Sequence[SessionId] = ()) -> None:
        """Undo what was written since; ``created`` are the sessions that were added and are to go."""
        async with self._driver.transaction():
            await self._driver.execute(_CREATED, list(created))
            for statement in _RESTORE:
                await self._driver.execute(statement)
        await self._driver.execute(_FOLD)
        await self._driver.execute(_VACUUM)
        if self._may_checkpoint:
            await self._driver.execute("CHECKPOINT")


@asynccontextmanager
async def saved_state(place: Place) -> AsyncIterator[SavedState]:
    """Save the unfinished work of a place, in tables of its own; after an error these go with the place."""
    async with place.administering() as driver:
        await driver.execute(_SAVE)
        await driver.execute("ANALYZE bench_sessions, bench_kernels, bench_slots, bench_agents")
        yield SavedState(driver, may_checkpoint=place.may_checkpoint)
        await driver.execute(_DROP)
