"""A wait for changes ends soon after a commit, in whichever process; without any hint it ends in time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from scheduler_repo.connection import Repositories, open_repositories
from scheduler_repo.database import notifications
from scheduler_repo.database import waker as waker_module
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.agent import AgentReport
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.errors import EngineClosed, InvalidInput
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import AgentId, Architecture, OwnerScope
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.small_cluster import CPU, GROUP, MEM, OTHER_GROUP, USER, agent, cluster, session, session_id
from tests.waking.waiting import (
    LONG,
    SHORT,
    count_listeners,
    heard_at,
    settle,
    until_no_listener,
    waiting,
)

OpenRepositories = Callable[[], Awaitable[Repositories]]


@pytest.fixture
async def open_more(migrated_database: Database) -> AsyncIterator[OpenRepositories]:
    """Opens repositories as another process would have them."""
    async with AsyncExitStack() as stack:

        async def open_one() -> Repositories:
            opening = open_repositories(migrated_database.url_as(SCHEDULER), pool_size=2)
            return await stack.enter_async_context(opening)

        yield open_one


@pytest.fixture
async def repos(open_more: OpenRepositories) -> Repositories:
    """Repositories with an agent, and a session that waits."""
    opened = await open_more()
    await opened.cluster.load_cluster(cluster([agent("a")], [session(1, 1)]))
    return opened


class TestWoken:
    async def test_by_another_process(self, repos: Repositories, open_more: OpenRepositories) -> None:
        other = await open_more()
        await settle(repos)
        ended = waiting(repos)
        await other.sessions.enqueue_sessions([session(2, 1)])
        assert await ended
        # Then it has told once, and is told of nothing else
        assert not await repos.scheduler.wait_for_changes(GROUP, SHORT)

    async def test_by_its_own_process_and_once(self, repos: Repositories, open_more: OpenRepositories) -> None:
        other = await open_more()
        await settle(repos)
        await settle(other)
        ended = waiting(repos)
        await repos.sessions.create_session(session(2, 1))
        assert await ended
        # Then its own announcement, which another has heard, is no second change
        assert await other.scheduler.wait_for_changes(GROUP, LONG)
        assert not await repos.scheduler.wait_for_changes(GROUP, SHORT)

    async def test_at_once_by_what_came_between_two_waits(
        self, repos: Repositories, open_more: OpenRepositories, migrated_database: Database
    ) -> None:
        other = await open_more()
        await settle(repos)
        async with heard_at(migrated_database) as heard:
            await other.sessions.create_sessions([session(2, 1)])
            await heard.get()
        assert await repos.scheduler.wait_for_changes(GROUP, LONG)

    async def test_not_by_another_group(self, repos: Repositories, open_more: OpenRepositories) -> None:
        other = await open_more()
        await settle(repos)
        await settle(repos, OTHER_GROUP)
        elsewhere = waiting(repos, OTHER_GROUP)
        await other.sessions.enqueue_sessions([session(2, 1, scaling_group=OTHER_GROUP)])
        assert await elsewhere
        assert not await repos.scheduler.wait_for_changes(GROUP, SHORT)

    async def test_by_whatever_gives_room_or_limits_back(
        self, repos: Repositories, open_more: OpenRepositories
    ) -> None:
        other = await open_more()
        await settle(repos)
        report = AgentReport(
            agent_id=AgentId("a"), architecture=Architecture("x86_64"), capacity={CPU: 20, MEM: 200}
        )
        quota = QuotaSpec(scope=OwnerScope.USER, owner_id=str(USER), slot_limits={CPU: 5})
        for change in (
            other.lifecycle.mark_cancelled([session_id(1)]),
            other.agents.return_agents([report]),
            other.agents.mark_lost_agents(GROUP, timedelta(days=1)),
            other.quotas.set_quotas([quota]),
        ):
            ended = waiting(repos)
            await change
            assert await ended

    async def test_by_any_program_that_notifies(self, repos: Repositories, migrated_database: Database) -> None:
        await settle(repos)
        async with migrated_database.driver_as(ADMIN) as driver:
            for payload, is_woken in (("", True), (f":{GROUP}", True), (":other", False), ("\t:\n", False)):
                ended = waiting(repos)
                await asyncio.sleep(0)
                await driver.execute("SELECT pg_notify('scheduler_repo_changes', $1)", payload)
                done, _ = await asyncio.wait([ended], timeout=LONG if is_woken else SHORT)
                assert bool(done) is is_woken
                ended.cancel()

    async def test_a_process_that_ends_at_once_has_told(
        self, repos: Repositories, migrated_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given a message that is on its way for longer than it takes to close
        send = notifications.send_notifications

        async def send_slowly(engine: ExtendedAsyncSAEngine, payloads: Collection[str]) -> None:
            for _ in range(1_000):
                await asyncio.sleep(0)
            await send(engine, payloads)

        monkeypatch.setattr(waker_module, "send_notifications", send_slowly)
        await settle(repos)
        ended = waiting(repos)
        async with open_repositories(migrated_database.url_as(SCHEDULER), pool_size=1) as other:
            await other.sessions.enqueue_sessions([session(2, 1)])
        assert await ended


class TestWithoutHints:
    async def test_it_ends_in_time(
        self, repos: Repositories, open_more: OpenRepositories, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def lose(*_: object) -> None:
            """No notification arrives."""

        other = await open_more()
        await settle(repos)
        monkeypatch.setattr(waker_module, "send_notifications", lose)
        await other.sessions.enqueue_sessions([session(2, 1)])
        assert not await repos.scheduler.wait_for_changes(GROUP, SHORT)
        assert len((await repos.scheduler.get_scheduling_data(GROUP)).pending_sessions) == 2

    async def test_a_repository_without_a_waker_only_waits(self, repos: Repositories) -> None:
        scheduler = SchedulerRepository(SchedulerDBSource(repos.engine))
        assert not await scheduler.wait_for_changes(GROUP, SHORT)

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 3_601])
    async def test_no_time_is_refused(self, repos: Repositories, seconds: float) -> None:
        with pytest.raises(InvalidInput, match="timeout"):
            await repos.scheduler.wait_for_changes(GROUP, seconds)


class TestOneConnection:
    async def test_for_many_waits(self, repos: Repositories, migrated_database: Database) -> None:
        await settle(repos)
        ended = [waiting(repos) for _ in range(50)]
        await asyncio.sleep(0)
        assert await count_listeners(migrated_database) == 1
        assert repos.engine.connections_in_use == 0
        await repos.sessions.enqueue_sessions([session(2, 1)])
        assert all(await asyncio.gather(*ended))

    async def test_none_for_who_never_waits(self, repos: Repositories, migrated_database: Database) -> None:
        await repos.sessions.enqueue_sessions([session(2, 1)])
        assert await count_listeners(migrated_database) == 0

    async def test_a_cancelled_wait_leaves_nothing(self, repos: Repositories) -> None:
        await settle(repos)
        ended = waiting(repos)
        await asyncio.sleep(0)
        ended.cancel()
        await asyncio.wait([ended])
        assert ended.cancelled()
        waker = waker_module._wakers[repos.engine]
        assert waker._waiting == {}
        # Then the others are woken as ever
        other = waiting(repos)
        await repos.sessions.enqueue_sessions([session(2, 1)])
        assert await other

    async def test_a_first_wait_that_is_cancelled(
        self, repos: Repositories, migrated_database: Database
    ) -> None:
        ended = waiting(repos)
        await asyncio.sleep(0)
        ended.cancel()
        await asyncio.wait([ended])
        assert await repos.scheduler.wait_for_changes(GROUP, LONG)
        assert await count_listeners(migrated_database) == 1

    async def test_closing_ends_the_waits(self, repos: Repositories, migrated_database: Database) -> None:
        async with open_repositories(migrated_database.url_as(SCHEDULER)) as closed:
            await settle(closed)
            ended = waiting(closed)
            await asyncio.sleep(0)
        with pytest.raises(EngineClosed, match="while a group was waited for"):
            await ended
        with pytest.raises(EngineClosed):
            await closed.scheduler.wait_for_changes(GROUP, LONG)
        await until_no_listener(migrated_database)


class TestRate:
    async def test_what_is_written_soon_after_is_told_together(
        self, migrated_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with open_repositories(migrated_database.url_as(SCHEDULER)) as loader:
            await loader.cluster.load_cluster(cluster([agent("a")], []))
        # Given a pause between two announcements that no test waits for
        monkeypatch.setattr(waker_module, "ANNOUNCE_SECONDS", LONG)
        async with heard_at(migrated_database) as heard:
            async with open_repositories(migrated_database.url_as(SCHEDULER)) as writer:
                for number in range(2, 12):
                    await writer.sessions.enqueue_sessions([session(number, 1)])
                first = await heard.get()
                await writer.sessions.enqueue_sessions([session(12, 1, scaling_group=OTHER_GROUP)])
                assert heard.empty()
            # Then what was not told yet is at the end, each group once
            last = {await heard.get(), await heard.get()}
        assert [first.partition(":")[2], *sorted(each.partition(":")[2] for each in last)] == [
            GROUP,
            GROUP,
            OTHER_GROUP,
        ]
        assert heard.empty()
