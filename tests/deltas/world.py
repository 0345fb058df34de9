"""A database, those who write to it, and those who read it again and again."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from random import Random
from time import monotonic
from typing import Final, Optional

import asyncpg

from scheduler_repo import (
    CacheSettings,
    ComparisonOutcome,
    DatabaseSettings,
    Refresh,
    ScalingGroupName,
    SchedulerCacheSource,
    SchedulerDBSource,
    SchedulerRepoError,
    SecretUrl,
    SnapshotTracker,
    create_redis,
    open_repositories,
    retry_waits_disabled,
)
from scheduler_repo.database.sql_files import read_sql_file
from tests.deltas.engine_writes import SETUP_NODES, EngineWrite, Office
from tests.deltas.held_answers import HeldAnswers, Question, assert_same
from tests.deltas.writes import SETUP, Write, create, move
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection
from tests.support.waiting import PATIENCE

QUESTIONS: Final[tuple[Question, ...]] = tuple(
    (ScalingGroupName(group), limit)
    for group, limit in (("gpu", None), ("gpu", 7), ("gpu", 2), ("other", None), ("other", 3))
)
_EMPTY: Final = """
DELETE FROM session_dependencies; DELETE FROM reservations; DELETE FROM sessions; DELETE FROM agents;
DELETE FROM quotas; DELETE FROM resource_policies; DELETE FROM slot_types; DELETE FROM scaling_groups;
DELETE FROM keypairs; DELETE FROM users; DELETE FROM projects; DELETE FROM domains;
"""
_OWNER_USAGE: Final = read_sql_file("audit/owner_usage.sql")


class World:
    """A connection for each of some open transactions, one for what is committed at once, and an engine.

    ``answers`` are held and brought up to date, as a tracker does; the engine's own tracker is beside them.
    """

    def __init__(
        self, database: Database, redis_url: Optional[str] = None, *, has_two_phases: bool = False
    ) -> None:
        self._database = database
        self._redis_url = redis_url
        self._has_two_phases = has_two_phases
        self._prepared: set[int] = set()
        self.cache: Optional[SchedulerCacheSource] = None
        self._stack = AsyncExitStack()
        self.outcomes: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.journal: list[str] = []
        self.writers: list[DriverConnection] = []

    async def open(self) -> None:
        # Whoever waits for a writer waits for the machine, which waits for it.
        settings = DatabaseSettings(
            url=SecretUrl(self._database.url_as(SCHEDULER)),
            pool_size=6,
            lock_timeout=0.25,
            batch_lock_timeout=0.02,
        )
        repos = await self._stack.enter_async_context(open_repositories(settings))
        self._stack.enter_context(retry_waits_disabled())
        self.writers = [
            await self._stack.enter_async_context(self._database.driver_as(OWNER)) for _ in range(4)
        ]
        for writer in self.writers:
            await writer.execute("SET lock_timeout = '20ms'")
        self.source = SchedulerDBSource(repos.engine)
        if self._redis_url is not None:
            redis = create_redis(CacheSettings(url=SecretUrl(self._redis_url), timeout=PATIENCE))
            self._stack.push_async_callback(redis.aclose)
            self.cache = SchedulerCacheSource(redis, self.source, timeout=PATIENCE)
            self._stack.push_async_callback(self.cache.drain)
        self.answers = HeldAnswers(self.source, QUESTIONS, self.outcomes)
        self.office = Office(repos, SnapshotTracker(self.source), self.writers.pop())

    async def close(self) -> None:
        """Roll back what is open and leave, unless it was abandoned."""
        if not any(writer.is_closed() for writer in self.writers):
            await self._end_everything()
        await self._stack.aclose()

    def abandon(self) -> None:
        """Leave a server that is gone."""
        for writer in (*self.writers, self.office.connection):
            writer.terminate()

    async def take_over(self, former: "World") -> None:
        """Let the readers of another world go on here, with what they hold, as if it were the same database."""
        self.answers, self.outcomes, self._prepared = former.answers, former.outcomes, former._prepared
        self.answers.ask(self.source)
        self.office.tracker._held.update(former.office.tracker._held)

    async def begin_again(self) -> None:
        """End all transactions and fill the database anew."""
        self.journal.clear()
        await self._end_everything()
        writer = self.writers[0]
        await writer.execute(f"BEGIN; SET LOCAL lock_timeout = '10s'; {_EMPTY} {SETUP} {SETUP_NODES}")
        for seed in range(30):
            await create(writer, Random(seed))  # noqa: S311 - a workload, not a secret
            await move(writer, Random(seed))  # noqa: S311 - a workload, not a secret
        await writer.execute("COMMIT")
        self.answers = HeldAnswers(self.source, QUESTIONS, self.outcomes)
        self.office.tracker.forget()

    async def write(self, number: int, write: Write, rng: Random, *, is_kept: bool = True) -> None:
        """Write in a writer's transaction, or in one of its own; in a savepoint, which may be rolled back."""
        writer = self.writers[number]
        begin, keep, undo = (
            ("SAVEPOINT one", "RELEASE one", "ROLLBACK TO one")
            if writer.is_in_transaction()
            else ("BEGIN", "COMMIT", "ROLLBACK")
        )
        await writer.execute(begin)
        try:
            await write(writer, rng)
        except asyncpg.PostgresError as error:
            # Refused by a constraint, or by a lock that an open transaction has.
            self.refused[f"{write.__name__}: {type(error).__name__}"] += 1
            is_kept = False
        await writer.execute(keep if is_kept else undo)
        self.journal.append(f"writer {number}: {begin}, {write.__name__}, {keep if is_kept else undo}")

    async def write_by_engine(self, write: EngineWrite, rng: Random) -> None:
        try:
            await write(self.office, rng)
            self.journal.append(f"engine: {write.__name__}")
        except (SchedulerRepoError, asyncpg.PostgresError) as error:
            # Such as a session that is there already, or a counter that plain SQL has put wrong.
            self.refused[f"{write.__name__}: {type(error).__name__}"] += 1

    async def begin(self, number: int) -> None:
        writer = self.writers[number]
        if not writer.is_in_transaction():
            await writer.execute("BEGIN")

    async def end(self, number: int, how: str) -> None:
        writer = self.writers[number]
        if writer.is_in_transaction():
            await writer.execute(how)
            self.journal.append(f"writer {number}: {how}")

    async def prepare(self, number: int) -> None:
        """Prepare what a writer has open, unless what it prepared before is not ended."""
        writer = self.writers[number]
        if self._has_two_phases and writer.is_in_transaction() and number not in self._prepared:
            await writer.execute(f"PREPARE TRANSACTION 'writer-{number}'")
            self._prepared.add(number)
            self.journal.append(f"writer {number}: PREPARE TRANSACTION")

    async def end_prepared(self, number: int, how: str) -> None:
        """End what a writer has prepared, be it in another transaction already."""
        if number in self._prepared:
            await self.writers[0].execute(f"{how} PREPARED 'writer-{number}'")
            self._prepared.remove(number)
            self.journal.append(f"writer {number}: {how} PREPARED")

    async def ask_together(
        self, questions: list[Question], work: Coroutine[None, None, None], rng: Random
    ) -> None:
        """Several ask the tracker while others write; some leave before they are answered; it is compared."""
        tracker = self.office.tracker
        callers = [asyncio.create_task(tracker.get_scheduling_data(*question)) for question in questions]
        comparison = asyncio.create_task(tracker.compare(*questions[0]))
        writing = asyncio.create_task(work)
        for caller in callers:
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() * 0.005)
                caller.cancel()
        done = await asyncio.gather(*callers, return_exceptions=True)
        await writing
        assert (await comparison).outcome in (ComparisonOutcome.EQUAL, ComparisonOutcome.NOT_COMPARED)
        for each in done:
            if not isinstance(each, BaseException):
                self._count(each)
            elif not isinstance(each, asyncio.CancelledError):
                raise each
        # Nobody writes now: another read is of the same state.
        await self.ask_in_turn(questions)

    async def ask_in_turn(self, questions: Iterable[Question]) -> None:
        """Ask the tracker, and hold its answers against full reads; nobody else writes meanwhile."""
        for question in {*questions}:
            refresh = await self.office.tracker.get_scheduling_data(*question)
            assert_same(refresh.data, (await self.source.get_scheduling_data(*question)).data)
            self._count(refresh)

    async def start_from_redis(self, scaling_group: ScalingGroupName, rng: Random) -> None:
        """Begin as a process with nothing does, and as a reader who allows hardly any staleness."""
        if self.cache is None:
            return
        refresh = await SnapshotTracker(self.source, self.cache).get_scheduling_data(scaling_group)
        younger = await self.cache.get_scheduling_data(scaling_group, max_staleness=1e-6)
        full = (await self.source.get_scheduling_data(scaling_group)).data
        assert_same(refresh.data, full)
        assert_same(younger.data, full)
        self.outcomes["redis: changes" if refresh.reason is None else f"redis: {refresh.reason}"] += 1
        if rng.random() < 0.5:
            self.cache.store_base(refresh.data, monotonic())
        await self.cache.drain()

    def _count(self, refresh: Refresh) -> None:
        self.outcomes["tracker: changes" if refresh.reason is None else f"tracker: {refresh.reason}"] += 1

    async def check_usage(self) -> None:
        """Hold what owners are said to occupy against what their sessions and kernels do."""
        assert await self.office.connection.fetch(_OWNER_USAGE) == []

    async def _end_everything(self) -> None:
        for writer in self.writers:
            if writer.is_in_transaction():
                await writer.execute("ROLLBACK")
        for number in tuple(self._prepared):
            await self.end_prepared(number, "ROLLBACK")
