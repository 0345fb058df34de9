"""The floor of a read: the driver fetching the same rows by the engine's own statement files, no more."""

import asyncio
import gc
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Optional

import asyncpg

from scheduler_repo.database import lookups
from scheduler_repo.repositories.scheduler import db_source as reading
from scheduler_repo.scheduling.snapshot.owners import take_sessions
from scheduler_repo.steps import finish
from scheduler_repo.types import ScalingGroupName

_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_PARAMETER = re.compile(r"\$([0-9]+)")
_Calls = Sequence[tuple[str, tuple[object, ...]]]


class DriverReads:
    """One connection of the driver's own, with the owners' ids and the bound of the queue known beforehand."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", calls: _Calls) -> None:
        """Made by ``prepare``."""
        self._connection = connection
        self._calls = calls
        # COPY takes no parameters.
        self._copies = [_written_out(text, parameters) for text, parameters in calls]

    @classmethod
    async def prepare(
        cls,
        connection: "asyncpg.Connection[asyncpg.Record]",
        scaling_group: ScalingGroupName,
        pending_limit: Optional[int] = None,
    ) -> "DriverReads":
        """Find out which parameters the engine gives its statements."""
        sessions = await connection.fetch(reading.PENDING_SESSIONS.text, scaling_group, pending_limit)
        window = None if pending_limit is None else [row[0] for row in sessions]
        owners, _ = finish(take_sessions(sessions))
        parameters: dict[str, tuple[object, ...]] = {
            lookups.SNAPSHOT.name: (),
            lookups.SLOT_TYPES.name: (),
            reading.PENDING_SESSIONS.name: (scaling_group, pending_limit),
            lookups.PENDING_KERNELS.name: (scaling_group, window),
            lookups.PENDING_DEPENDENCIES.name: (scaling_group, window),
            lookups.OWNERS.name: owners.parameters,
        }
        calls = [
            (statement.text, parameters.get(statement.name, (scaling_group,)))
            for statement in reading.TICK_STATEMENTS
        ]
        return cls(connection, calls)

    async def fetch(self) -> list[list[asyncpg.Record]]:
        """Fetch all rows of one tick in one transaction, with the cyclic collector off."""
        with collector_off():
            await self._connection.execute(_BEGIN)
            rows = [await self._connection.fetch(text, *parameters) for text, parameters in self._calls]
            await self._connection.execute("COMMIT")
        return rows

    async def copy_away(self) -> int:
        """Have the same rows sent in COPY's binary format and throw them away; return the bytes that came."""
        received = 0

        async def throw_away(data: bytes) -> None:
            nonlocal received
            received += len(data)

        with collector_off():
            await self._connection.execute(_BEGIN)
            for query in self._copies:
                await self._connection.copy_from_query(query, output=throw_away, format="binary")
            await self._connection.execute("COMMIT")
        return received


@contextmanager
def collector_off() -> Iterator[None]:
    """Switch the cyclic collector off for the block, and until the event loop's next turn.

    There it looks at all that was fetched, as after a read of the engine's: neither is timed.
    """
    gc.disable()
    try:
        yield
    finally:
        asyncio.get_running_loop().call_soon(gc.enable)


def _written_out(text: str, parameters: Sequence[object]) -> str:
    return _PARAMETER.sub(lambda match: _literal(parameters[int(match[1]) - 1]), text)


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        value = "{" + ",".join(f'"{element}"' for element in value) + "}"
    return "'" + str(value).replace("'", "''") + "'"
