"""An engine that waits for rows only a moment, and another client's connection."""

from collections.abc import AsyncIterator

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection


@pytest.fixture
async def engine(migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
    url = SecretUrl(migrated_database.url_as(SCHEDULER))
    engine = create_engine(DatabaseSettings(url=url, lock_timeout=0.3, batch_lock_timeout=0.05))
    yield engine
    await engine.dispose()


@pytest.fixture
async def holder(migrated_database: Database) -> AsyncIterator[DriverConnection]:
    """Another client."""
    async with migrated_database.driver_as(OWNER) as connection:
        yield connection
