"""The floor: the raw driver fetching the same rows, by the engine's own statement files, and nothing else."""

import gc
from collections.abc import Sequence

import asyncpg

from scheduler_repo.database import lookups
from scheduler_repo.database.engine import PLANNER_SETTINGS
from scheduler_repo.repositories.scheduler import db_source as reading
from scheduler_repo.scheduling.snapshot.build import finish, pending_owners
from scheduler_repo.types import ScalingGroupName


class DriverFloor:
    """One connection of the driver's own, with the owners' ids known beforehand."""

    def __init__(
        self, connection: "asyncpg.Connection[asyncpg.Record]", calls: Sequence[tuple[str, tuple[object, ...]]]
    ) -> None:
        self._connection = connection
        self._calls = calls

    @classmethod
    async def connect(cls, dsn: str, scaling_group: ScalingGroupName) -> "DriverFloor":
        """Connect, and find out which parameters the engine gives its statements."""
        connection = await asyncpg.connect(dsn, server_settings=PLANNER_SETTINGS)
        sessions = await connection.fetch(reading.PENDING_SESSIONS.text, scaling_group, None)
        owners = finish(pending_owners(sessions))
        owner_ids = (owners.access_keys, owners.users, owners.projects, owners.domains)
        parameters: dict[str, tuple[object, ...]] = {
            lookups.SNAPSHOT.name: (),
            lookups.SLOT_TYPES.name: (),
            reading.PENDING_SESSIONS.name: (scaling_group, None),
            lookups.PENDING_KERNELS.name: (scaling_group, None),
            lookups.PENDING_DEPENDENCIES.name: (scaling_group, None),
            lookups.OWNER_OCCUPANCY.name: owner_ids,
            lookups.OWNER_SESSION_COUNTS.name: owner_ids,
            lookups.OWNER_LIMITS.name: owner_ids,
        }
        calls = [
            (statement.text, parameters.get(statement.name, (scaling_group,)))
            for statement in reading.TICK_STATEMENTS
        ]
        return cls(connection, calls)

    async def read(self) -> list[list[asyncpg.Record]]:
        """Fetch all rows of one tick in one transaction, with the cyclic collector off."""
        gc.disable()
        try:
            await self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            rows = [await self._connection.fetch(text, *parameters) for text, parameters in self._calls]
            await self._connection.execute("COMMIT")
        finally:
            gc.enable()
        return rows

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()
