"""The sessions that the engine hands out: their transaction ends where their block ends."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.database.statements import Statement, fetch_rows
from scheduler_repo.errors import InvalidInput
from scheduler_repo.models import DomainRow
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import ADMIN, SCHEDULER, Database


class _Ids(list[int]):
    """A statement's argument that knows when the driver has begun to write it."""

    is_written = False

    def __iter__(self) -> Iterator[int]:
        self.is_written = True
        return super().__iter__()


class TestEngineSession:
    @pytest.fixture
    async def engine(self, migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER))))
        yield engine
        await engine.dispose()

    async def _domains(self, database: Database) -> list[str]:
        async with database.driver_as(ADMIN) as driver:
            return [row["name"] for row in await driver.fetch("SELECT name FROM domains ORDER BY name")]

    async def test_it_is_committed_at_the_end(
        self, engine: ExtendedAsyncSAEngine, migrated_database: Database
    ) -> None:
        async with engine.begin_session() as db_sess:
            db_sess.add(DomainRow(name="by-orm"))
            await db_sess.execute(sa.insert(DomainRow).values(name="by-core"))
        assert await self._domains(migrated_database) == ["by-core", "by-orm"]

    @pytest.mark.parametrize("call", ["commit", "rollback"])
    async def test_it_cannot_be_ended_inside(
        self, engine: ExtendedAsyncSAEngine, migrated_database: Database, call: str
    ) -> None:
        async def end_inside() -> None:
            async with engine.begin_session() as db_sess:
                await db_sess.execute(sa.insert(DomainRow).values(name="lab"))
                await getattr(db_sess, call)()

        with pytest.raises(InvalidInput, match="begin_session"):
            await end_inside()
        assert await self._domains(migrated_database) == []

    async def test_a_nested_part_can_be_rolled_back(
        self, engine: ExtendedAsyncSAEngine, migrated_database: Database
    ) -> None:
        async with engine.begin_session() as db_sess:
            await db_sess.execute(sa.insert(DomainRow).values(name="kept"))
            nested = await db_sess.begin_nested()
            await db_sess.execute(sa.insert(DomainRow).values(name="dropped"))
            await nested.rollback()
        assert await self._domains(migrated_database) == ["kept"]

    @pytest.mark.parametrize(("count", "is_written"), [(1, True), (10_000, False)])
    async def test_many_values_are_written_in_a_turn_of_their_own(
        self, engine: ExtendedAsyncSAEngine, count: int, *, is_written: bool
    ) -> None:
        """What the loop has done before, as putting them together, does not add to what the driver takes."""
        statement = Statement("count", "SELECT cardinality($1::int[])")
        async with engine.begin_readonly_session() as db_sess:
            await fetch_rows(db_sess, statement, [1])  # it is prepared
            ids = _Ids(range(count))
            fetching = asyncio.ensure_future(fetch_rows(db_sess, statement, ids))
            # when
            await asyncio.sleep(0)
            # then
            assert ids.is_written is is_written
            assert await fetching == [(count,)]
