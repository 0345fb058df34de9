"""A cancel or a timeout anywhere in a call gives the pool back a clean connection or none."""

import asyncio
import gc

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler_repo.database import engine as engine_module
from tests.support.databases import Database
from tests.support.interruptions import Place, Way, Wrong, interruptions, run_lanes

CANCELS_PER_PLACE = 2000
WITHOUT_CURE_AT_MOST = 8000
DRIVER_TIMEOUTS_PER_PLACE = 48


_discard = engine_module._discard


async def _discard_only_if_closed(connection: AsyncConnection) -> None:
    """What the engine would do without the cure: a connection that works goes back to the pool as it is."""
    driver = (await connection.get_raw_connection()).driver_connection
    if isinstance(driver, asyncpg.Connection) and driver.is_closed():
        await _discard(connection)


class TestInterruptedCalls:
    @pytest.mark.slow
    @pytest.mark.parametrize("place", Place)
    async def test_later_calls_read_and_write_the_newest(self, empty_database: Database, place: Place) -> None:
        """2,000 cancels and timeouts, at BEGIN, in a fetch, in the body, at COMMIT."""
        wrong = await run_lanes(
            empty_database, CANCELS_PER_PLACE, interruptions(place, Way.CANCEL, Way.TIMEOUT)
        )

        assert wrong == {}
        gc.collect()  # a connection left to the collector would warn now, and a warning is an error
        assert asyncio.all_tasks() == {asyncio.current_task()}

    @pytest.mark.parametrize(
        "place",
        [
            Place.FETCH,
            *(pytest.param(each, marks=pytest.mark.slow) for each in Place if each is not Place.FETCH),
        ],
    )
    async def test_without_the_cure_they_do_not(
        self, empty_database: Database, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same calls and checks, but a connection in doubt goes back to the pool: this must show."""
        monkeypatch.setattr(engine_module, "_discard", _discard_only_if_closed)
        shown = {Wrong.FAILED}
        if place in (Place.FETCH, Place.BODY):
            # At the other two the server has taken no snapshot yet, or has already committed.
            shown |= {Wrong.STALE_READ, Wrong.UNFINISHED_WRITE_COMMITTED}

        wrong = await run_lanes(
            empty_database,
            WITHOUT_CURE_AT_MOST,
            interruptions(place, Way.CANCEL, Way.TIMEOUT),
            until=shown,
        )

        assert shown <= wrong.keys()

    @pytest.mark.slow
    @pytest.mark.parametrize("place", [Place.BEGIN, Place.FETCH, Place.COMMIT])
    async def test_timeouts_of_the_driver(self, empty_database: Database, place: Place) -> None:
        wrong = await run_lanes(
            empty_database,
            DRIVER_TIMEOUTS_PER_PLACE,
            (how for how in interruptions(place, Way.DRIVER_TIMEOUT) if how.second_cancel_after is None),
            lanes=8,
            statement_timeout=0.5,
        )

        assert wrong == {}
