"""The cases in a user's own database, which is only read: a group's state, one session, and a plan."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Optional

import msgspec
import sqlalchemy as sa

from bench.data.place import Place
from bench.measure.results import ENGINE
from bench.measure.turns import Side
from bench.profiling.trace import ONLY_READ, Trace, TracedPlanner
from bench.suites.read import BOUNDED_READ, FULL_READ, ONE_SESSION
from bench.suites.suite import Case
from scheduler_repo.database.connecting import open_database
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.settings import DatabaseSettings
from scheduler_repo.types import ScalingGroupName

SUITES: Final = ("read", "tick")
READ_AND_PLAN: Final = "read and plan"
_LONGEST_QUEUE: Final = sa.text(
    """
SELECT g.name FROM scaling_groups AS g
ORDER BY (SELECT count(*) FROM sessions AS s WHERE s.scaling_group = g.name AND s.status = 'PENDING') DESC,
         g.name
LIMIT 1
"""
)


class OwnDatabase(msgspec.Struct, frozen=True):
    """A user's database: whose engine is traced, and the group that is read."""

    place: Place
    engine: ExtendedAsyncSAEngine
    group: ScalingGroupName

    async def cases(self, suite: str, planner: TracedPlanner) -> AsyncGenerator[Case, None]:
        """Yield the cases of a suite, each of one side, which only reads."""
        scheduler = SchedulerRepository(SchedulerDBSource(self.engine))
        whole = partial(scheduler.get_scheduling_data, self.group)
        if suite == "tick":

            async def read_and_plan() -> None:
                await asyncio.to_thread(planner.plan, await whole())

            yield Case(READ_AND_PLAN, {ENGINE: Side(read_and_plan)})
            return
        data = await whole()
        pending = len(data.pending_sessions)
        first = data.pending_sessions[0].session_id if pending else None
        del data
        yield Case(FULL_READ, {ENGINE: Side(whole)})
        yield Case(BOUNDED_READ, {ENGINE: Side(partial(whole, pending_limit=max(1, pending // 10)))})
        if first is not None:
            sessions = SessionRepository(SessionDBSource(self.engine))
            yield Case(ONE_SESSION, {ENGINE: Side(partial(sessions.get_session_by_id, first))})


@asynccontextmanager
async def open_own_database(
    settings: DatabaseSettings, group: Optional[ScalingGroupName], trace: Trace
) -> AsyncIterator[OwnDatabase]:
    """Open a database of this package's schema; the group is the one with the longest queue unless given.

    Raises SchemaMismatch for another schema, InvalidInput for a database without a scaling group, and the
    errors of the database layer.
    """
    place = Place(settings.url, settings.url, on_engine=partial(trace.watch, ONLY_READ))
    async with open_database(settings, to_write=False) as engine, engine.begin_readonly_session() as db_sess:
        found = await db_sess.scalar(_LONGEST_QUEUE)
    if found is None:
        raise InvalidInput("the database has no scaling group, so there is nothing to read; give another")
    async with place.engine() as engine:
        yield OwnDatabase(place, engine, ScalingGroupName(found) if group is None else group)
