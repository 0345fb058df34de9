"""The sessions that the engine hands out: their transaction ends where their block ends."""

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.errors import InvalidInput
from scheduler_repo.models import DomainRow
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import ADMIN, SCHEDULER, Database


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
