"""What these tests share: an engine in the scheduler's role, a cluster to load, and a count of statements."""

from collections.abc import AsyncIterator

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.settings import DatabaseSettings, SecretUrl


@pytest.fixture
async def unreachable() -> AsyncIterator[ExtendedAsyncSAEngine]:
    """An engine whose server is not there: any statement fails."""
    engine = create_engine(DatabaseSettings(url=SecretUrl("postgresql:///nothing?host=/nonexistent")))
    yield engine
    await engine.dispose()
