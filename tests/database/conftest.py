"""A small cluster as the scheduler role sees it."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.databases import SCHEDULER, Database, DatabaseServer, DriverConnection
from tests.support.rows import insert_all


@pytest.fixture(scope="session")
def small_cluster(postgres_server: DatabaseServer, migrated_template: Database) -> Iterator[Database]:
    """A migrated database with a row or two in each table; tests roll back what they change in it."""

    async def make() -> Database:
        database = await postgres_server.create_database(migrated_template)
        await insert_all(database)
        return database

    database = asyncio.run(make())
    yield database
    asyncio.run(postgres_server.drop_database(database))


@pytest.fixture
async def scheduler(small_cluster: Database) -> AsyncIterator[DriverConnection]:
    """The scheduler role in the small cluster, in a transaction that is rolled back."""
    async with small_cluster.driver_as(SCHEDULER) as driver:
        transaction = driver.transaction()
        await transaction.start()
        yield driver
        await transaction.rollback()
