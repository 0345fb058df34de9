"""Writes whose connection is cut at COMMIT, over and over, and whether their callers are told the truth."""

import asyncio
import enum
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, NamedTuple, Optional, Union
from uuid import UUID, uuid4

import msgspec
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.allocation import AllocationResult
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.lifecycle import SessionEnd, SessionRetry, TransitionResult
from scheduler_repo.errors import SchedulerRepoError
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import AgentId, LeaseHolder, OperationId, SessionId, SessionStatus, TransactionId
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection
from tests.support.small_cluster import GROUP, agent, cluster, held_on, ledger_of, place, session, session_id
from tests.support.wire_proxy import WireProxy, proxied

WRITES_PER_ROUND: Final = 4
_SESSIONS_PER_ROUND: Final = 2
_LANE_SPAN: Final = 1_000
_TOO_LARGE: Final = _LANE_SPAN - 1
_XID_MASK: Final = 2**32 - 1

_ENTRIES: Final = """
SELECT id, session_id, from_status, to_status, xmin::text::bigint AS transaction_id
FROM session_history
WHERE id > $1 AND session_id = ANY ($2) AND from_status IS NOT NULL
ORDER BY id
"""
_OPERATION: Final = """
SELECT id, result FROM operations
WHERE xmin::text::bigint = $1 OR id = $2
"""
# An attempt is what lies between two entries into the queue.
_ALLOCATED_TWICE: Final = """
SELECT count(*) FROM (
    SELECT FROM (
        SELECT session_id, from_status, to_status, count(*) FILTER (WHERE to_status = 'PENDING')
               OVER (PARTITION BY session_id ORDER BY id) AS attempt
        FROM session_history
    ) AS entry
    WHERE from_status = 'PENDING' AND to_status = 'SCHEDULED'
    GROUP BY session_id, attempt
    HAVING count(*) > 1
) AS twice
"""
_RETRIES_MISCOUNTED: Final = """
SELECT count(*) FROM sessions AS s
WHERE retry_count <> (
    SELECT count(*) FROM session_history AS h
    WHERE h.session_id = s.id AND h.from_status IS NOT NULL AND h.to_status = 'PENDING'
)
"""

Result = Union[AllocationResult, TransitionResult]
# Cuts the connection of a call at its COMMIT; returns when that is done.
Cut = Callable[["Lane", "asyncio.Task[Result]"], Awaitable[None]]


class Wrong(enum.Enum):
    """What a caller may suffer from a COMMIT whose answer was lost."""

    ANSWER = "answer"  # not what this write must answer
    UNTOLD = "untold"  # the database holds what the caller was not told
    UNWRITTEN = "unwritten"  # the caller was told what the database does not hold
    TWICE = "twice"  # an attempt was allocated, or a retry counted, more than once
    LEDGER = "ledger"  # an agent's counters are not what its kernels hold
    UNSTORED = "unstored"  # the operation is not stored with this result, once
    FAILED = "failed"


class Write(NamedTuple):
    """One write of a round: what is asked for, and which sessions move from where to where."""

    run: Callable[[Optional[Lease], Optional[OperationId]], Awaitable[Result]]
    moved: tuple[SessionId, ...]
    rejected: tuple[SessionId, ...]
    from_status: SessionStatus
    to_status: SessionStatus


class Told(NamedTuple):
    """A result, whichever kind of write it is of."""

    moved: tuple[SessionId, ...]
    rejected: tuple[SessionId, ...]
    transaction_id: Optional[TransactionId]


def told_of(result: Result) -> Told:
    moved = result.allocated if isinstance(result, AllocationResult) else result.changed
    return Told(moved, tuple(each.session_id for each in result.rejected), result.transaction_id)


class Lane:
    """One engine with one connection behind a proxy of its own, and sessions and an agent of its own."""

    def __init__(
        self, number: int, database: Database, proxy: WireProxy, engine: ExtendedAsyncSAEngine, lease: Lease
    ) -> None:
        """Made by ``lane``."""
        self.proxy = proxy
        self.wrong: Counter[Wrong] = Counter()
        self.cuts = 0
        self.server_pid = 0
        self._agent = AgentId(f"agent-{number}")
        self._first = number * _LANE_SPAN
        self._database = database
        self._scheduler = SchedulerRepository(SchedulerDBSource(engine))
        self._lifecycle = LifecycleRepository(LifecycleDBSource(engine))
        self._lease = lease
        self._last_entry = 0
        sa.event.listen(engine.sync_engine, "checkout", self._note_server_pid)

    async def run(self, rounds: int, cut: Cut) -> None:
        """Cut every write of so many rounds, and hold each answer against the database."""
        for number in range(rounds):
            for write in self._writes(number):
                await self._cut(write, cut)
        async with self._database.driver_as(OWNER) as observer:
            drifted = await ledger_of(observer, self._agent) != await held_on(observer, self._agent)
        self.wrong[Wrong.LEDGER] += drifted

    def _note_server_pid(self, connection: sa.AdaptedConnection, _record: object, _proxy: object) -> None:
        self.server_pid = connection.driver_connection.get_server_pid()

    def _writes(self, number: int) -> Iterator[Write]:
        """Allocate two sessions, put one back, allocate it again, end both; some of each batch is rejected."""
        scheduled, pending = SessionStatus.SCHEDULED, SessionStatus.PENDING
        first = self._first + number * _SESSIONS_PER_ROUND
        second, too_large = first + 1, self._first + _TOO_LARGE
        one, two, three = session_id(first), session_id(second), session_id(too_large)
        placed = [place(each, self._agent) for each in (first, too_large, second)]
        yield Write(
            lambda lease, asked: self._scheduler.allocate_sessions(
                GROUP, placed, lease=lease, operation_id=asked
            ),
            (one, two),
            (three,),
            pending,
            scheduled,
        )
        retries = [SessionRetry(one, (self._agent,)), SessionRetry(three)]
        yield Write(
            lambda lease, asked: self._lifecycle.requeue_sessions(
                retries, "lost", lease=lease, operation_id=asked
            ),
            (one,),
            (three,),
            scheduled,
            pending,
        )
        again = [place(each, self._agent) for each in (second, first)]
        yield Write(
            lambda lease, asked: self._scheduler.allocate_sessions(
                GROUP, again, lease=lease, operation_id=asked
            ),
            (one,),
            (two,),
            pending,
            scheduled,
        )
        ends = [SessionEnd(one), SessionEnd(two), SessionEnd(three)]
        yield Write(
            lambda lease, asked: self._lifecycle.mark_terminated(ends, lease=lease, operation_id=asked),
            (one, two),
            (three,),
            scheduled,
            SessionStatus.TERMINATED,
        )

    async def _cut(self, write: Write, cut: Cut) -> None:
        # Every kind of write with and without a lease, and with and without an id of the caller's.
        lease = self._lease if self.cuts % 3 else None
        asked = OperationId(uuid4()) if self.cuts % 5 else None
        call = asyncio.ensure_future(write.run(lease, asked))
        await cut(self, call)
        self.cuts += 1
        (outcome,) = await asyncio.gather(call, return_exceptions=True)
        if isinstance(outcome, SchedulerRepoError):
            self.wrong[Wrong.FAILED] += 1
            told = Told((), (), None)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            told = told_of(outcome)
        async with self._database.driver_as(OWNER) as observer:
            await self._judge(observer, write, told)
            if not isinstance(outcome, BaseException):
                await self._judge_stored(observer, outcome, asked)

    async def _judge(self, observer: DriverConnection, write: Write, told: Told) -> None:
        self.wrong[Wrong.ANSWER] += (sorted(told.moved), told.rejected) != (sorted(write.moved), write.rejected)
        sessions = [*write.moved, *write.rejected]
        entries = await observer.fetch(_ENTRIES, self._last_entry, sessions)
        if entries:
            self._last_entry = entries[-1]["id"]
        written = Counter((each["session_id"], each["from_status"], each["to_status"]) for each in entries)
        said = Counter((each, write.from_status, write.to_status) for each in told.moved)
        self.wrong[Wrong.UNTOLD] += (written - said).total()
        self.wrong[Wrong.UNWRITTEN] += (said - written).total()
        # What is there must have been written by the very transaction that the caller was told of.
        xids = {each["transaction_id"] for each in entries}
        self.wrong[Wrong.UNTOLD] += len(xids - {(told.transaction_id or 0) & _XID_MASK})

    async def _judge_stored(
        self, observer: DriverConnection, result: Result, asked: Optional[OperationId]
    ) -> None:
        xid = (result.transaction_id or 0) & _XID_MASK
        stored = await observer.fetch(_OPERATION, xid, asked)
        # Beside the result are the sessions that were changed.
        done = [msgspec.msgpack.decode(row["result"], type=tuple[msgspec.Raw, list[UUID]]) for row in stored]
        decoded = [msgspec.msgpack.decode(encoded, type=type(result)) for encoded, _ in done]
        self.wrong[Wrong.UNSTORED] += decoded != [result]
        self.wrong[Wrong.UNSTORED] += asked not in (None, *(row["id"] for row in stored))


@asynccontextmanager
async def lane(database: Database, number: int, lease: Lease) -> AsyncIterator[Lane]:
    """A lane of its own in a database that ``fill`` has filled."""
    async with proxied(database.url_as(SCHEDULER)) as proxy:
        engine = create_engine(DatabaseSettings(url=SecretUrl(proxy.url), pool_size=1))
        try:
            yield Lane(number, database, proxy, engine, lease)
        finally:
            await engine.dispose()


async def fill(database: Database, lanes: int, rounds: int) -> Lease:
    """Load the agents and sessions of so many lanes, and acquire the group's lease for an hour."""
    engine = create_engine(DatabaseSettings(url=SecretUrl(database.url_as(SCHEDULER))))
    numbers = [
        lane * _LANE_SPAN + number for lane in range(lanes) for number in range(rounds * _SESSIONS_PER_ROUND)
    ]
    too_large = [lane * _LANE_SPAN + _TOO_LARGE for lane in range(lanes)]
    try:
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(
            cluster(
                [agent(f"agent-{lane}") for lane in range(lanes)],
                [*(session(number, 2) for number in numbers), *(session(number, 100) for number in too_large)],
            )
        )
        return await LeaseRepository(LeaseDBSource(engine)).acquire_lease(
            GROUP, LeaseHolder("lanes"), timedelta(hours=1)
        )
    finally:
        await engine.dispose()


async def run_lanes(database: Database, cuts: int, cut: Cut, *, lanes: int) -> Mapping[Wrong, int]:
    """Cut so many writes at COMMIT, several lanes at a time, and return what went wrong."""
    rounds = cuts // WRITES_PER_ROUND // lanes
    lease = await fill(database, lanes, rounds)
    wrong: Counter[Wrong] = Counter()

    async def run(number: int) -> int:
        async with lane(database, number, lease) as one:
            await one.run(rounds, cut)
            wrong.update(one.wrong)
            return one.cuts

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(run(number)) for number in range(lanes)]
    assert sum(task.result() for task in running) == cuts
    async with database.driver_as(OWNER) as observer:
        wrong[Wrong.TWICE] += await count_twice(observer)
        operations = await observer.fetchval("SELECT count(*) FROM operations WHERE kind <> 'load_cluster'")
    wrong[Wrong.UNSTORED] += abs(operations - cuts)
    return +wrong


async def count_twice(observer: DriverConnection) -> int:
    """How many attempts were allocated more than once, and how many sessions count their retries wrongly."""
    twice = await observer.fetchval(_ALLOCATED_TWICE)
    return int(twice) + int(await observer.fetchval(_RETRIES_MISCOUNTED))
