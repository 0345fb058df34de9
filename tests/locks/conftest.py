"""An engine that waits for rows only a moment, and another client's connection."""

from collections.abc import AsyncIterator

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from tests.support.databases import OWNER, Database, DriverConnection
from tests.support.shared_databases import SharedDatabase


@pytest.fixture
def engine(shared_database: SharedDatabase) -> ExtendedAsyncSAEngine:
    return shared_database.engine_with(lock_timeout=0.3, batch_lock_timeout=0.05)


@pytest.fixture
async def holder(migrated_database: Database) -> AsyncIterator[DriverConnection]:
    """Another client."""
    async with migrated_database.driver_as(OWNER) as connection:
        yield connection
