"""What these tests share: an engine in the scheduler's role, a cluster to load, and a count of statements."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.settings import DatabaseSettings, SecretUrl

Count = Callable[[Awaitable[object]], Awaitable[int]]


@pytest.fixture
async def unreachable() -> AsyncIterator[ExtendedAsyncSAEngine]:
    """An engine whose server is not there: any statement fails."""
    engine = create_engine(DatabaseSettings(url=SecretUrl("postgresql:///nothing?host=/nonexistent")))
    yield engine
    await engine.dispose()


@pytest.fixture
async def count(engine: ExtendedAsyncSAEngine) -> Count:
    """How many statements a call sends, without BEGIN and COMMIT, and without COPYs, which are not logged."""

    async def counted(call: Awaitable[object]) -> int:
        queries: list[str] = []
        async with engine.begin_readonly_session() as db_sess:
            driver = driver_connection(db_sess)
        with driver.query_logger(lambda record: queries.append(record.query)):
            await call
        # Else another connection of the pool answered.
        assert queries[0].startswith("BEGIN")
        assert queries[-1] in ("COMMIT", "ROLLBACK")
        return len(queries) - 2

    return counted
