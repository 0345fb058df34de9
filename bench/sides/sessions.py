"""All sides of reading one session."""

from contextlib import AsyncExitStack
from typing import Final

from bench.data.cluster import GROUP
from bench.data.place import Place
from bench.measure.results import ENGINE, FLOOR, PLAIN
from bench.measure.turns import Side
from bench.sides.plain_reads import get_session_by_orm
from scheduler_repo.database.statements import load_statement
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository

# A turn of one call would be over before the clock has moved.
_CALLS: Final = 20
_SESSION_BY_ID: Final = load_statement("session/session_by_id")
_ANY_SESSIONS: Final = "SELECT id FROM sessions WHERE scaling_group = $1 ORDER BY created_at, id LIMIT $2"


async def session_sides(stack: AsyncExitStack, place: Place) -> dict[str, Side]:
    """Connect to a place and return the sides, each of one session, a new one every time; ``stack`` closes."""
    engine = await stack.enter_async_context(place.engine())
    plain = await stack.enter_async_context(place.plain_engine())
    driver = await stack.enter_async_context(place.driver())
    repository = SessionRepository(SessionDBSource(engine))
    session_ids = [row[0] for row in await driver.fetch(_ANY_SESSIONS, GROUP, _CALLS)]

    async def by_engine() -> None:
        for session_id in session_ids:
            await repository.get_session_by_id(session_id)

    async def by_driver() -> None:
        for session_id in session_ids:
            await driver.fetchrow(_SESSION_BY_ID.text, session_id)

    async def by_orm() -> None:
        for session_id in session_ids:
            await get_session_by_orm(plain, session_id)

    of_one = 1 / len(session_ids)
    return {
        FLOOR: Side(by_driver, parts=of_one),
        ENGINE: Side(by_engine, parts=of_one),
        PLAIN: Side(by_orm, parts=of_one),
    }
