"""Waits for changes behind a pooler: nothing is heard through it in transaction mode, and that is said once."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from scheduler_repo.connection import Repositories, open_repositories
from tests.pgbouncer.bouncer import Bouncer
from tests.support.databases import SCHEDULER, Database
from tests.support.small_cluster import GROUP, agent, cluster, session
from tests.waking.waiting import LONG, SHORT, count_listeners, settle, waiting


class TestTransactionMode:
    @pytest.fixture
    async def behind(self, bouncer: Bouncer, migrated_database: Database) -> AsyncIterator[Repositories]:
        url = bouncer.url_of(migrated_database.url_as(SCHEDULER))
        async with open_repositories(url, pooler="transaction") as opened:
            await opened.cluster.load_cluster(cluster([agent("a")], []))
            yield opened

    async def test_it_polls_and_says_so_once(
        self, behind: Repositories, migrated_database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert not await behind.scheduler.wait_for_changes(GROUP, SHORT)
        assert [record.message for record in caplog.records] == [
            "no notifications of changes, they are polled for instead: "
            "a pooler in transaction mode passes none on"
        ]
        assert await count_listeners(migrated_database) == 0

    async def test_its_own_process_wakes_it(self, behind: Repositories) -> None:
        ended = waiting(behind)
        await asyncio.sleep(0)
        await behind.sessions.enqueue_sessions([session(1, 1)])
        assert await ended

    async def test_who_is_connected_directly_hears_it(
        self, behind: Repositories, migrated_database: Database
    ) -> None:
        async with open_repositories(migrated_database.url_as(SCHEDULER)) as direct:
            await settle(direct)
            ended = waiting(direct)
            await behind.sessions.enqueue_sessions([session(1, 1)])
            assert await ended


class TestSessionMode:
    async def test_it_hears(self, idle_bouncer: Bouncer, migrated_database: Database) -> None:
        idle_bouncer.start(pool_mode="session", default_pool_size=5)
        url = idle_bouncer.url_of(migrated_database.url_as(SCHEDULER))
        async with (
            open_repositories(url, pooler="session") as behind,
            open_repositories(migrated_database.url_as(SCHEDULER)) as direct,
        ):
            await direct.cluster.load_cluster(cluster([agent("a")], []))
            assert await behind.scheduler.wait_for_changes(GROUP, LONG)
            ended = waiting(behind)
            await direct.sessions.enqueue_sessions([session(1, 1)])
            assert await ended
