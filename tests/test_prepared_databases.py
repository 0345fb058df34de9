"""A copy that was made ahead is as good as its template, and is gone when it is given back."""

import asyncio

import asyncpg
import pytest

from scheduler_repo.testing.prepared_databases import preparing
from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database, DatabaseServer
from tests.support.waiting import PATIENCE


class TestCopies:
    async def test_each_is_of_its_own(
        self, migrated_template: Database, postgres_server: DatabaseServer
    ) -> None:
        # given
        with preparing(postgres_server.admin_url) as server:
            first, second = [await server.take_copy(migrated_template) for _ in range(2)]
            # when
            await first.run_as(SCHEDULER, "INSERT INTO scaling_groups (name) VALUES ('gpu')")
            # then
            async with second.driver_as(SCHEDULER) as driver:
                assert await driver.fetchval("SELECT count(*) FROM scaling_groups") == 0
            for copy in (first, second):
                await server.give_back(copy)

    async def test_has_the_privileges_on_the_database(self, migrated_database: Database) -> None:
        async with migrated_database.driver_as(OWNER) as driver:
            assert await driver.fetchval("SELECT has_database_privilege(current_database(), 'CREATE')")

    async def test_is_gone_at_the_end_whoever_is_connected(
        self, migrated_template: Database, postgres_server: DatabaseServer
    ) -> None:
        # given
        is_cut = asyncio.Event()
        with preparing(postgres_server.admin_url) as server:
            copy = await server.take_copy(migrated_template)
            async with copy.driver_as(OWNER) as driver:
                driver.add_termination_listener(lambda _: is_cut.set())
                # when
                await server.give_back(copy)
                # then
                async with asyncio.timeout(PATIENCE):
                    await is_cut.wait()
        async with DatabaseServer(copy.admin_url).maintenance.driver_as(ADMIN) as driver:
            found = "SELECT count(*) FROM pg_database WHERE datname = $1"
            assert await driver.fetchval(found, copy.name) == 0

    async def test_what_could_not_be_dropped_is_told(self, postgres_server: DatabaseServer) -> None:
        # when
        with pytest.raises(asyncpg.InvalidCatalogNameError), preparing(postgres_server.admin_url) as server:
            await server.give_back(server.new_database())
