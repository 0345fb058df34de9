"""All sides of a read, on one place."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncEngine

from bench.data.cluster import GROUP
from bench.data.place import Place
from bench.measure.results import ENGINE, FLOOR, LIMIT, PLAIN
from bench.measure.turns import Side
from bench.sides.driver_reads import DriverReads
from bench.sides.plain_reads import PlainState, read_by_orm
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository

# The plain way takes many times as long, and varies as little.
_PLAIN_TURNS = 3


class Readers:
    """Reads the state of the group that is measured, whole or bounded."""

    def __init__(
        self,
        engine: ExtendedAsyncSAEngine,
        plain_engine: AsyncEngine,
        floor: DriverReads,
        pending_limit: Optional[int],
    ) -> None:
        """Made by ``open_readers``."""
        self._plain_engine = plain_engine
        self.repository = SchedulerRepository(SchedulerDBSource(engine))
        self.floor = floor
        self._pending_limit = pending_limit

    async def read(self) -> SchedulingData:
        """Read as a scheduler does."""
        return await self.repository.get_scheduling_data(GROUP, pending_limit=self._pending_limit)

    async def read_plainly(self) -> PlainState:
        """Read the plain way."""
        return await read_by_orm(self._plain_engine, GROUP, self._pending_limit)

    def sides(self, plain_turns: int = _PLAIN_TURNS) -> dict[str, Side]:
        """Return every side of this read."""
        return {
            FLOOR: Side(self.floor.fetch),
            ENGINE: Side(self.read),
            PLAIN: Side(self.read_plainly, turns=plain_turns),
            # The next one finds a heap in pieces after so many entities: of this side no ratio is promised.
            LIMIT: Side(self.floor.copy_away),
        }


@asynccontextmanager
async def open_readers(place: Place, pending_limit: Optional[int] = None) -> AsyncIterator[Readers]:
    """Connect every side to a place."""
    async with place.engine() as engine, place.plain_engine() as plain, place.driver() as driver:
        floor = await DriverReads.prepare(driver, GROUP, pending_limit)
        yield Readers(engine, plain, floor, pending_limit)
