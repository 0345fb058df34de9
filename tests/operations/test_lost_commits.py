"""A connection lost at COMMIT, 200 times: nothing is written twice, and every caller is told the truth."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, Optional, TypeVar
from uuid import uuid4

import pytest

from scheduler_repo.database import idempotent_write as writing
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession
from scheduler_repo.database.idempotent_write import IdempotentWrite, RequestDigest, WriteTransaction
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.entities.lease import Lease
from scheduler_repo.errors import OutcomeUnknown
from scheduler_repo.types import OperationId
from tests.operations.lost_commits import Cut, Lane, Result, Wrong, count_twice, fill, run_lanes
from tests.support.databases import OWNER, Database
from tests.support.own_server import own_database
from tests.support.small_cluster import session_id
from tests.support.wire_proxy import Point, Side

BEFORE_COMMIT: Final = 80
AFTER_COMMIT: Final = 80
CRASHES: Final = 40
WITHOUT_CURE: Final = 16
# Half of the crashes come while the server is about to make the COMMIT durable; it waits for so long with it.
CRASH_SETTINGS: Final = {
    "commit_delay": "2000",
    "commit_siblings": "0",
    # Not file by file, which takes a second at each start.
    **({"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}),
}
_COMMIT_SECONDS: Final = 0.006

ResultT = TypeVar("ResultT")


async def cut_before(lane: Lane, call: "asyncio.Task[Result]") -> None:
    """The COMMIT never reaches the server."""
    hold = lane.proxy.hold(Point.COMMIT, Side.REQUEST)
    await hold.reached(call)
    hold.drop()


async def cut_after(lane: Lane, call: "asyncio.Task[Result]") -> None:
    """The COMMIT reaches the server, its answer does not come back."""
    hold = lane.proxy.hold(Point.COMMIT, Side.ANSWER)
    await hold.reached(call)
    hold.drop()


async def kill_before(lane: Lane, call: "asyncio.Task[Result]") -> None:
    """The server crashes before the COMMIT."""
    hold = lane.proxy.hold(Point.COMMIT, Side.REQUEST)
    await hold.reached(call)
    os.kill(lane.server_pid, signal.SIGKILL)
    hold.drop()


async def kill_within(lane: Lane, call: "asyncio.Task[Result]") -> None:
    """The server crashes somewhere in the COMMIT."""
    hold = lane.proxy.hold(Point.COMMIT, Side.REQUEST)
    await hold.reached(call)
    server_pid = lane.server_pid
    answer = lane.proxy.hold(Point.COMMIT, Side.ANSWER)
    hold.release()
    await asyncio.sleep(random.uniform(0, _COMMIT_SECONDS))  # noqa: S311 - anywhere in it
    os.kill(server_pid, signal.SIGKILL)
    answer.drop()


async def kill_after(lane: Lane, call: "asyncio.Task[Result]") -> None:
    """The server crashes when it has made the COMMIT, before its answer comes back."""
    hold = lane.proxy.hold(Point.COMMIT, Side.ANSWER)
    await hold.reached(call)
    os.kill(lane.server_pid, signal.SIGKILL)
    hold.drop()


async def stop_at_once(server: EmbeddedPostgres, lane: Lane, call: "asyncio.Task[Result]") -> None:
    """The whole server is stopped as in a crash, while the COMMIT comes in, and started again."""
    hold = lane.proxy.hold(Point.COMMIT, Side.REQUEST)
    await hold.reached(call)
    hold.release()
    await asyncio.to_thread(server.restart, "immediate")


def in_turn(*cuts: Cut) -> Cut:
    """Each of these ways with each kind of write."""

    async def cut(lane: Lane, call: "asyncio.Task[Result]") -> None:
        await cuts[(lane.cuts + lane.cuts // len(cuts)) % len(cuts)](lane, call)

    return cut


class Resolutions:
    """Counts how writes were resolved: by the result of the first try, or by a try that found none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count from now on."""
        self.stood = 0
        original = IdempotentWrite._find_done

        async def stored(
            kind: IdempotentWrite[ResultT], db_sess: SASession, operation_id: OperationId, digest: RequestDigest
        ) -> object:
            result = await original(kind, db_sess, operation_id, digest)
            self.stood += 1
            return result

        monkeypatch.setattr(IdempotentWrite, "_find_done", stored)


class TestTold:
    @pytest.fixture
    def resolutions(self, monkeypatch: pytest.MonkeyPatch) -> Resolutions:
        return Resolutions(monkeypatch)

    @pytest.mark.slow
    async def test_cut_before_the_commit_reaches_the_server(
        self, migrated_database: Database, resolutions: Resolutions
    ) -> None:
        wrong = await run_lanes(migrated_database, BEFORE_COMMIT, cut_before, lanes=4)

        assert wrong == {}
        assert resolutions.stood == 0

    @pytest.mark.slow
    async def test_cut_before_the_answer_comes_back(
        self, migrated_database: Database, resolutions: Resolutions
    ) -> None:
        wrong = await run_lanes(migrated_database, AFTER_COMMIT, cut_after, lanes=4)

        assert wrong == {}
        assert resolutions.stood == AFTER_COMMIT

    @pytest.mark.slow
    async def test_server_crashes_at_the_commit(self, resolutions: Resolutions) -> None:
        async with own_database(CRASH_SETTINGS) as (server, database):
            cut = in_turn(kill_before, kill_within, kill_within, kill_after, partial(stop_at_once, server))

            wrong = await run_lanes(database, CRASHES, cut, lanes=1)

        assert wrong == {}
        # All that were killed after the COMMIT stand, none that were killed before it.
        assert CRASHES // 5 <= resolutions.stood <= CRASHES - CRASHES // 5


async def _run_under_new_ids(
    original: Callable[..., Awaitable[ResultT]],
    kind: IdempotentWrite[ResultT],
    engine: ExtendedAsyncSAEngine,
    work: Callable[[WriteTransaction], Awaitable[ResultT]],
    *,
    request: object,
    operation_id: Optional[OperationId] = None,
    lease: Optional[Lease] = None,
) -> ResultT:
    while True:
        try:
            return await original(
                kind, engine, work, request=request, operation_id=OperationId(uuid4()), lease=lease
            )
        except OutcomeUnknown:
            continue


async def _not_asked_again(_attempt: object, lost: OutcomeUnknown, *_: object) -> None:
    raise lost


class TestWithoutTheCure:
    """The same cuts and checks with guesses in place of the operation id: this must show."""

    async def _run(self, database: Database) -> Mapping[Wrong, int]:
        return await run_lanes(database, WITHOUT_CURE, cut_after, lanes=2)

    async def test_asked_again_under_new_ids(
        self, migrated_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = IdempotentWrite.run
        monkeypatch.setattr(writing, "_ask_again", _not_asked_again)
        monkeypatch.setattr(
            IdempotentWrite, "run", lambda *given, **named: _run_under_new_ids(run, *given, **named)
        )

        wrong = await self._run(migrated_database)

        # Each time the caller is told that the sessions are no longer what they were; its own write did that.
        assert wrong[Wrong.ANSWER] == WITHOUT_CURE
        assert wrong[Wrong.UNTOLD] >= WITHOUT_CURE

    async def test_taken_for_failed(self, migrated_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writing, "_ask_again", _not_asked_again)

        wrong = await self._run(migrated_database)

        assert wrong[Wrong.FAILED] == WITHOUT_CURE
        assert wrong[Wrong.UNTOLD] >= WITHOUT_CURE

    async def test_an_attempt_allocated_twice_is_seen(self, migrated_database: Database) -> None:
        # given
        await fill(migrated_database, 1, 1)
        async with migrated_database.driver_as(OWNER) as owner:
            entry = "INSERT INTO session_history (session_id, from_status, to_status) VALUES ($1, $2, $3)"
            for number in (0, 1):
                await owner.execute(entry, session_id(number), "PENDING", "SCHEDULED")
            assert await count_twice(owner) == 0
            # when
            await owner.execute(entry, session_id(1), "PENDING", "SCHEDULED")
            # then
            assert await count_twice(owner) == 1
