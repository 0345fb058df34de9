"""The connection that listens is lost: the waits go on, nothing stays missed, and it is there again."""

import asyncio
import logging

import pytest

from scheduler_repo.connection import open_repositories
from scheduler_repo.database import notifications
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.own_server import own_database
from tests.support.small_cluster import GROUP, agent, cluster, session
from tests.support.waiting import PATIENCE
from tests.waking.waiting import KILL_LISTENERS, LONG, SHORT, count_listeners, settle, waiting


async def kill_listeners(database: Database) -> None:
    async with database.driver_as(ADMIN) as driver:
        await driver.execute(KILL_LISTENERS)


class TestKilled:
    async def test_a_wait_ends_when_it_listens_again(self, migrated_database: Database) -> None:
        async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:
            await repos.cluster.load_cluster(cluster([agent("a")], []))
            await settle(repos)
            # When what was announced meanwhile may be missed
            ended = waiting(repos)
            await asyncio.sleep(0)
            await kill_listeners(migrated_database)
            # Then it is taken for a change, once
            assert await ended
            assert not await repos.scheduler.wait_for_changes(GROUP, SHORT)
            assert await count_listeners(migrated_database) == 1
            # Then others are heard as before
            ended = waiting(repos)
            async with open_repositories(migrated_database.url_as(SCHEDULER)) as other:
                await other.sessions.enqueue_sessions([session(1, 1)])
            assert await ended

    async def test_one_that_says_nothing_is_replaced(
        self, migrated_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a connection that is asked often, and gets no answer
        monkeypatch.setattr(notifications, "_CHECK_SECONDS", SHORT)
        monkeypatch.setattr(notifications, "_CHECK", "SELECT pg_sleep(60)")
        monkeypatch.setattr(notifications, "_ANSWER_SECONDS", SHORT)
        async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:
            # Then each of its replacements may have missed something
            for _ in range(3):
                assert await repos.scheduler.wait_for_changes(GROUP, LONG)

    async def test_what_cannot_be_listened_to_is_said_once(
        self, migrated_database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        # Given a server that takes no connection more
        name = migrated_database.name
        monkeypatch.setattr(notifications, "_LONGEST_PAUSE", SHORT)
        monkeypatch.setattr(notifications, "_FIRST_PAUSE", SHORT)
        async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:
            await settle(repos)
            await migrated_database.run_as(ADMIN, f"ALTER DATABASE {name} CONNECTION LIMIT 0")
            try:
                with caplog.at_level(logging.WARNING):
                    await kill_listeners(migrated_database)
                    async with asyncio.timeout(PATIENCE):
                        while not caplog.records:
                            assert not await repos.scheduler.wait_for_changes(GROUP, SHORT)
                    assert not await repos.scheduler.wait_for_changes(GROUP, 10 * SHORT)
            finally:
                await migrated_database.run_as(ADMIN, f"ALTER DATABASE {name} CONNECTION LIMIT -1")
            assert [record.message[:51] for record in caplog.records] == [
                "no notifications of changes, they are polled for in"
            ]
            # Then it listens when it can again
            assert await repos.scheduler.wait_for_changes(GROUP, LONG)


@pytest.mark.slow
class TestRestart:
    async def test_of_the_server(self) -> None:
        async with (
            own_database({}) as (server, database),
            open_repositories(database.url_as(SCHEDULER)) as repos,
        ):
            await repos.cluster.load_cluster(cluster([agent("a")], []))
            await settle(repos)
            ended = waiting(repos)
            await asyncio.to_thread(server.restart, "immediate")
            # Then the wait ends when it listens again, and hears others as before
            assert await ended
            ended = waiting(repos)
            async with open_repositories(database.url_as(SCHEDULER)) as other:
                await other.sessions.enqueue_sessions([session(1, 1)])
            assert await ended
