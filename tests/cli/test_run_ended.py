"""``scheduler-repo run`` that is killed or stopped under load: another goes on, and nothing is half done."""

import asyncio
import signal
from random import Random
from typing import Final

import pytest

from scheduler_repo.connection import open_repositories
from tests.cli.running import end_with, read_until
from tests.support.command import Command, Ended, Started
from tests.support.databases import SCHEDULER, Database, DriverConnection
from tests.support.small_cluster import GROUP, agent, cluster, held_on, ledger_of, session
from tests.support.waiting import PATIENCE

STOPS: Final = 8
# More than Few can place before a signal comes.
SESSIONS: Final = 300
TELLING: Final = ("--dispatcher", "tests.cli.parts:Telling")

_IS_FREE: Final = "SELECT expires_at <= clock_timestamp() FROM scheduler_leases WHERE scaling_group = $1"
_WAITING: Final = "SELECT count(*) FROM sessions WHERE status = 'PENDING' OR dispatched_at IS NULL"


async def until_nothing_waits(owner: DriverConnection) -> None:
    async with asyncio.timeout(PATIENCE):
        while await owner.fetchval(_WAITING):
            await owner.execute("SELECT pg_sleep(0.05)")


async def until_said(process: Started, mark: str) -> None:
    await asyncio.to_thread(read_until, process, mark)


async def until_ended(process: Started, number: signal.Signals) -> Ended:
    return await asyncio.to_thread(end_with, process, number)


def told_of(ended: Ended) -> int:
    return sum(int(line.removeprefix("told of ")) for line in ended.output.splitlines())


@pytest.mark.slow
class TestKilled:
    async def test_another_takes_over(
        self, command: Command, migrated_database: Database, owner_connection: DriverConnection
    ) -> None:
        url = migrated_database.url_as(SCHEDULER)
        # A lease must last longer than a transaction that is idle.
        arguments = ("run", GROUP, "--lease-ttl", "5", *TELLING, "--database-url", url)
        short = {"SCHEDULER_REPO_IDLE_IN_TRANSACTION_TIMEOUT": "2"}
        async with open_repositories(url) as repos:
            # given one that leads, and one that waits
            await repos.cluster.load_cluster(cluster([agent("a1")], [session(1, 1, 1)]))
            leader = command.start(*arguments, **short)
            await until_said(leader, "placed 1")
            other = command.start(*arguments, **short)
            await until_said(other, "is led by another process")
            # when the leader is killed
            assert (await until_ended(leader, signal.SIGKILL)).code == -signal.SIGKILL
            # then the other leads by itself, and schedules
            await until_said(other, "this process leads")
            await repos.sessions.enqueue_sessions([session(2, 1, 1)])
            await until_said(other, "placed 1")
            await until_nothing_waits(owner_connection)
        ended = await until_ended(other, signal.SIGTERM)
        assert ended.code == 0, ended.errors
        assert "told of 1\n" in ended.output


@pytest.mark.slow
class TestStopped:
    async def test_under_load_again_and_again(
        self, command: Command, migrated_database: Database, owner_connection: DriverConnection
    ) -> None:
        url = migrated_database.url_as(SCHEDULER)
        arguments = ("run", GROUP, *TELLING, "--interval", "0.1", "--database-url", url)
        random = Random(13)  # noqa: S311 - when each is stopped
        told = 0
        async with open_repositories(url) as repos:
            await repos.cluster.load_cluster(cluster([agent("a1", cpu=1_000_000, mem=1_000_000)], []))
            for number in range(STOPS):
                new = range(SESSIONS * number, SESSIONS * (number + 1))
                await repos.sessions.enqueue_sessions([session(each, 1, 1) for each in new])
                process = command.start(*arguments, "--planner", "tests.cli.parts:Few")
                await until_said(process, "placed 3")
                await asyncio.sleep(random.uniform(0, 0.1))
                # when it is stopped, wherever it is
                ended = await until_ended(process, signal.SIGTERM)
                # then it ends well: the lease is free, and nothing is half written
                assert ended.code == 0, ended.errors
                assert await owner_connection.fetchval(_IS_FREE, GROUP)
                assert await ledger_of(owner_connection, "a1") == await held_on(owner_connection, "a1")
                told += told_of(ended)
            # and the next one places the rest, and tells of all that nobody was told of
            process = command.start(*arguments)
            await until_said(process, "placed ")
            await until_nothing_waits(owner_connection)
        ended = await until_ended(process, signal.SIGTERM)
        assert ended.code == 0, ended.errors
        told += told_of(ended)
        assert told >= SESSIONS * STOPS

    async def test_what_blocks_the_event_loop_is_cut_off(
        self, command: Command, migrated_database: Database
    ) -> None:
        url = migrated_database.url_as(SCHEDULER)
        async with open_repositories(url) as repos:
            await repos.cluster.load_cluster(cluster([agent("a1")], [session(1, 1, 1)]))
        process = command.start(
            *("run", GROUP, "--dispatcher", "tests.cli.parts:Blocking", "--stop-timeout", "0.1"),
            *("--database-url", url),
        )
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "blocks\n"
        ended = await until_ended(process, signal.SIGTERM)
        assert ended.code == 1
        assert "what was under way has not ended in 10.1 s: cut off" in ended.errors
