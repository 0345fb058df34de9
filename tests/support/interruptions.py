"""Calls that are interrupted at a chosen point, and what later calls through the same pool must then see."""

import asyncio
import enum
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from typing import Final, Optional

import msgspec
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.errors import DatabaseTimeout, OutcomeUnknown, SchedulerRepoError
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database, DriverConnection
from tests.support.waiting import PATIENCE
from tests.support.wire_proxy import MARK, Hold, Point, Side, WireProxy, proxied

SCHEMA: Final = f"""
CREATE TABLE counters (lane int PRIMARY KEY, committed bigint DEFAULT 0, written bigint DEFAULT 0);
CREATE TABLE attempts (lane int PRIMARY KEY, number bigint DEFAULT 0);
GRANT SELECT, INSERT, UPDATE ON counters, attempts TO {SCHEDULER};
"""


_READ: Final = "SELECT committed FROM counters WHERE lane = $1"


_WRITE: Final = "UPDATE counters SET written = $2 WHERE lane = $1"


_ATTEMPT: Final = f"UPDATE attempts SET number = $2 WHERE lane = $1 RETURNING number {MARK}"


_OUTCOME: Final = "SELECT written, number FROM counters JOIN attempts USING (lane) WHERE lane = $1"


_LOOK: Final = f"SELECT committed, $2::bigint FROM counters WHERE lane = $1 {MARK}"


_IN_TRANSACTION: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND (state LIKE 'idle in transaction%' OR (state = 'active' AND backend_type = 'client backend'))
"""


class Place(enum.Enum):
    """Where a call is interrupted."""

    BEGIN = "begin"
    FETCH = "fetch"
    BODY = "body"
    COMMIT = "commit"


class Way(enum.Enum):
    """How it is interrupted."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"  # asyncio.timeout around the call
    DRIVER_TIMEOUT = "driver timeout"  # the driver's own, within the call


class Interruption(msgspec.Struct, frozen=True):
    """One way to interrupt a call; ``second_cancel_after`` is in turns of the event loop."""

    place: Place
    writes: bool
    through_driver: bool
    way: Way
    side: Side
    prepare: bool
    second_cancel_after: Optional[int]
    held_bytes_arrive: bool


_POINTS: Final = {Place.BEGIN: Point.BEGIN, Place.FETCH: Point.FETCH, Place.COMMIT: Point.COMMIT}


_BOTH: Final = (True, False)


def interruptions(place: Place, *ways: Way) -> Iterator[Interruption]:
    """All ways to interrupt at one place, over and over, in an order that mixes them."""
    sides = (Side.REQUEST, Side.ANSWER) if place is not Place.BODY else (Side.REQUEST,)
    # In the first statement on a connection the driver waits for Parse, then for Bind.
    prepares = _BOTH if place is Place.FETCH else (False,)
    product = itertools.product(_BOTH, _BOTH, ways, sides, prepares, (None, 0, 1, 2, 3, 5), _BOTH)
    all_ways = [Interruption(place, *one) for one in product]
    random.Random(2).shuffle(all_ways)  # noqa: S311 - an order that is the same every time
    return itertools.cycle(all_ways)


class Wrong(enum.Enum):
    """What a later call may suffer from a connection that came back dirty."""

    STALE_READ = "stale read"
    LOST_WRITE = "lost write"
    UNFINISHED_WRITE_COMMITTED = "unfinished write committed"
    FAILED = "failed"
    CONNECTION_LEAKED = "connection leaked"


class Lane:
    """One engine with a small pool behind a proxy of its own, and one row to count in."""

    def __init__(
        self, number: int, proxy: WireProxy, engine: ExtendedAsyncSAEngine, direct: DriverConnection
    ) -> None:
        """Made by ``lane``."""
        self.proxy = proxy
        self.engine = engine
        self.wrong: Counter[Wrong] = Counter()
        self._number = number
        self._direct = direct
        self._round = 0

    async def interrupt(self, how: Interruption) -> None:
        """Interrupt one call, then read and write through the same pool and count what is wrong."""
        self._round += 1
        if how.place is Place.BODY:
            await self._interrupt_body(how)
        else:
            await self._interrupt_held(how)
        await self._check(how.place)

    async def _interrupt_held(self, how: Interruption) -> None:
        point = Point.PREPARE if how.prepare else _POINTS[how.place]
        hold = self.proxy.hold(point, how.side)
        scope = asyncio.timeout(None)
        call = asyncio.create_task(self._call(how, scope, None))
        await hold.reached(call)
        self.wrong[Wrong.FAILED] += not await _is_ended(call, how, scope)
        _decide(hold, how)

    async def _interrupt_body(self, how: Interruption) -> None:
        in_body = asyncio.Event()
        scope = asyncio.timeout(None)
        call = asyncio.create_task(self._call(how, scope, in_body))
        call.add_done_callback(lambda _: in_body.set())
        await in_body.wait()
        self.wrong[Wrong.FAILED] += not await _is_ended(call, how, scope)

    async def _call(self, how: Interruption, scope: asyncio.Timeout, in_body: Optional[asyncio.Event]) -> None:
        session = self.engine.begin_session if how.writes else self.engine.begin_readonly_session
        statement = _ATTEMPT if how.writes else _LOOK
        async with scope, session() as db_sess:
            if how.through_driver:
                await driver_connection(db_sess).fetch(statement, self._number, self._round)
            else:
                text = statement.replace("$1", ":lane").replace("$2::bigint", "CAST(:round AS bigint)")
                parameters = {"lane": self._number, "round": self._round}
                await db_sess.execute(sa.text(text.replace("$2", ":round")), parameters)
            if in_body is not None:
                in_body.set()
                await asyncio.Event().wait()

    async def _check(self, interrupted_at: Place) -> None:
        # Committed elsewhere after the interrupted call: any older snapshot shows.
        await self._direct.execute(
            "UPDATE counters SET committed = $2 WHERE lane = $1", self._number, self._round
        )
        checks = [self._check_read, self._check_write]
        try:
            # Which kind comes first upon the connection decides what a dirty one does to it.
            for check in checks if self._round % 2 else reversed(checks):
                await check()
        except SchedulerRepoError:
            self.wrong[Wrong.FAILED] += 1
            return
        finally:
            self.wrong[Wrong.CONNECTION_LEAKED] += checked_out(self.engine) > 0
        ((written, attempted),) = await self._direct.fetch(_OUTCOME, self._number)
        self.wrong[Wrong.LOST_WRITE] += written != self._round
        if interrupted_at is not Place.COMMIT:
            self.wrong[Wrong.UNFINISHED_WRITE_COMMITTED] += attempted == self._round

    async def _check_read(self) -> None:
        async with self.engine.begin_readonly_session() as db_sess:
            read = await driver_connection(db_sess).fetchval(_READ, self._number)
        self.wrong[Wrong.STALE_READ] += read != self._round

    async def _check_write(self) -> None:
        async with self.engine.begin_session() as db_sess:
            await driver_connection(db_sess).execute(_WRITE, self._number, self._round)


async def _is_ended(call: "asyncio.Task[None]", how: Interruption, scope: asyncio.Timeout) -> bool:
    """End a call and return whether it ended as it should."""
    if how.way is Way.CANCEL:
        call.cancel()
    elif how.way is Way.TIMEOUT and not call.done():
        scope.reschedule(asyncio.get_running_loop().time())
    if how.second_cancel_after is not None:
        for _ in range(how.second_cancel_after):
            await asyncio.sleep(0)
        call.cancel()
    (outcome,) = await asyncio.gather(call, return_exceptions=True)
    if how.way is Way.DRIVER_TIMEOUT:
        is_lost_commit = how.place is Place.COMMIT and how.writes
        return isinstance(outcome, OutcomeUnknown if is_lost_commit else DatabaseTimeout)
    # A second cancel may come before the timeout does, or after the clean-up.
    return isinstance(outcome, (asyncio.CancelledError, TimeoutError))


def _decide(hold: Hold, how: Interruption) -> None:
    if how.held_bytes_arrive:
        hold.release()
    else:
        hold.drop()


def checked_out(engine: ExtendedAsyncSAEngine) -> int:
    """How many connections the pool has given out."""
    pool = engine.pool
    assert isinstance(pool, sa.QueuePool)
    return pool.checkedout()


@asynccontextmanager
async def lane(
    database: Database, number: int, *, pool_size: int = 1, statement_timeout: float = 60.0
) -> AsyncIterator[Lane]:
    """A lane of its own in a database with SCHEMA; nothing of it is checked out at the end."""
    async with proxied(database.url_as(SCHEDULER)) as proxy, database.driver_as(SCHEDULER) as direct:
        await direct.execute(f"INSERT INTO counters VALUES ({number}); INSERT INTO attempts VALUES ({number})")
        engine = create_engine(
            DatabaseSettings(url=SecretUrl(proxy.url), pool_size=pool_size, statement_timeout=statement_timeout)
        )
        try:
            yield Lane(number, proxy, engine, direct)
            assert checked_out(engine) == 0
        finally:
            await engine.dispose()


async def run_lanes(
    database: Database,
    count: int,
    how: Iterator[Interruption],
    *,
    lanes: int = 4,
    until: AbstractSet[Wrong] = frozenset(),
    **settings: float,
) -> Counter[Wrong]:
    """Interrupt ``count`` calls, several lanes at a time, and return what went wrong afterwards.

    They stop earlier when every kind in ``until`` has been seen.
    """
    await database.run_as(OWNER, SCHEMA)
    wrong: Counter[Wrong] = Counter()

    async def run(number: int) -> None:
        async with lane(database, number, pool_size=1 + number % 3, **settings) as one:
            for interruption in itertools.islice(how, count // lanes):
                if until and until <= (+wrong).keys():
                    return
                await one.interrupt(interruption)
                wrong.update(one.wrong)
                one.wrong.clear()

    async with asyncio.TaskGroup() as group:
        for number in range(lanes):
            group.create_task(run(number))
    await assert_nothing_open(database)
    return +wrong


async def assert_nothing_open(database: Database) -> None:
    """Wait for the server to notice what was dropped; then no transaction may be left open."""
    async with database.driver_as(ADMIN) as admin, asyncio.timeout(PATIENCE):
        while await admin.fetchval(_IN_TRANSACTION):
            await admin.execute("SELECT pg_sleep(0.01)")
