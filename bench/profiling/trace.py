"""Records what an engine does while a call runs: checkout, statements with the server's own clock, plan, Redis.

The engine is the real one. Its connections are of a subclass of the driver's, which passes everything on.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from time import perf_counter
from typing import Final, Optional, Protocol, TypeVar

import asyncpg
import msgspec
import redis.asyncio as redis_asyncio
import sqlalchemy as sa

from bench.profiling.statement_names import name_statement
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import Refresh
from scheduler_repo.metrics.reads import bytes_received
from scheduler_repo.scheduling.planner.protocol import IncrementalPlan, IncrementalPlanner
from scheduler_repo.types import ScalingGroupName

# Settings of sessions: the server says how long each message took, and refuses every write.
SAY_DURATIONS: Final = {"client_min_messages": "log"}
ONLY_READ: Final = {"default_transaction_read_only": "on"}
READ, WRITE, OUTSIDE = "read", "write", ""
CHECKOUT: Final = "checkout"
BEGIN: Final = "begin"
COMMIT: Final = "commit"
ROLLBACK: Final = "rollback"
PLAN: Final = "plan"
# What one connection of the database says of the time of each message, when it is asked to.
_DURATION: Final = re.compile(r"duration: ([0-9.]+) ms")
_TAG_ROWS: Final = re.compile(r"([0-9]+)$")
_CAN_BE_EXPLAINED: Final = re.compile(
    r"(?:\s|--[^\n]*\n)*(?:SELECT|WITH|INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE
)
_SESSIONS: Final = {"begin_readonly_session": READ, "begin_session": WRITE, "begin_batch_session": WRITE}

T = TypeVar("T")


class Event(msgspec.Struct, frozen=True):
    """One thing that the caller waited for: from when to when (seconds), and what came back.

    ``server_seconds`` is the server's own clock for it, None where it does not say.
    """

    section: str
    name: str
    started: float
    ended: float
    server_seconds: Optional[float] = None
    rows: Optional[int] = None
    received: Optional[int] = None


class SentStatement(msgspec.Struct, frozen=True):
    """One statement as it was sent, on the connection and in the transaction that it was sent in."""

    connection: "TracedConnection"
    section: str
    name: str
    text: str
    parameters: tuple[object, ...]


class BeforeStatement(Protocol):
    """Does something in a statement's own transaction before it is sent."""

    async def __call__(self, sent: SentStatement) -> None:
        """Look at a statement that PostgreSQL can explain."""
        ...


class Trace:
    """What the engines that it watches do between ``begin`` and ``end``, one call at a time.

    Outside of these its connections pass everything on at once, so that other instruments see little of it.
    """

    def __init__(self) -> None:
        """Record nothing yet."""
        self.events: list[Event] = []
        # Looks at each statement before it is sent, if PostgreSQL can explain it.
        self.before_statement: Optional[BeforeStatement] = None
        self.records = False
        self._section = OUTSIDE
        self._asked_at: Optional[float] = None
        self._connection_class = type("Connection", (TracedConnection,), {"trace": self})

    def begin(self) -> None:
        """Forget everything, and record from here on."""
        self.events = []
        self.records = True
        self._section = OUTSIDE
        self._asked_at = None

    def end(self) -> tuple[Event, ...]:
        """Record nothing any more, and return what was recorded."""
        self.records = False
        return tuple(self.events)

    def note(
        self,
        name: str,
        started: float,
        *,
        section: Optional[str] = None,
        server_seconds: Optional[float] = None,
        rows: Optional[int] = None,
        received: Optional[int] = None,
    ) -> None:
        """Note what began at ``started`` and has just ended."""
        if not self.records:
            return
        where = self._section if section is None else section
        self.events.append(Event(where, name, started, perf_counter(), server_seconds, rows, received))

    def watch(self, settings: Mapping[str, str], engine: ExtendedAsyncSAEngine) -> None:
        """Record what an engine does that has connected to nothing yet; ``settings`` are its sessions' own."""

        def use_class(dialect: object, record: object, args: object, parameters: dict[str, object]) -> None:
            parameters["connection_class"] = self._connection_class
            given = parameters.get("server_settings")
            parameters["server_settings"] = {**(given if isinstance(given, Mapping) else {}), **settings}

        sa.event.listen(engine.sync_engine, "do_connect", use_class)
        for method, section in _SESSIONS.items():
            setattr(engine, method, partial(self._begin_session, getattr(engine, method), section))

    def watch_redis(self, client: "redis_asyncio.Redis") -> None:
        """Record the commands and pipelines of a client."""
        execute, make_pipeline = client.execute_command, client.pipeline

        async def execute_command(*arguments: object, **options: object) -> object:
            return await self._timed_redis(str(arguments[0]), partial(execute, *arguments, **options))

        def pipeline(*arguments: object, **options: object) -> object:
            made = make_pipeline(*arguments, **options)  # type: ignore[arg-type] # passed on as it came
            send = made.execute

            async def execute_pipeline(**options: bool) -> object:
                name = " ".join(str(arguments[0]) for arguments, _ in made.command_stack)
                return await self._timed_redis(name, partial(send, **options))

            setattr(made, _EXECUTE, execute_pipeline)
            return made

        setattr(client, _EXECUTE_COMMAND, execute_command)
        setattr(client, _PIPELINE, pipeline)

    def note_message(self, text: str, started: float, server_seconds: Optional[float]) -> None:
        """Note a message without rows: the begin and the end of a transaction, or a setting."""
        first = text.split(None, 1)[0].rstrip(";").lower() if text.strip() else ""
        if first == BEGIN and self._asked_at is not None and self.records:
            # The connection was there when BEGIN was sent.
            self.events.append(Event(self._section, CHECKOUT, self._asked_at, started))
        self._asked_at = self._asked_at if first != BEGIN else None
        name = first if first in (BEGIN, COMMIT, ROLLBACK) else name_statement(text)
        self.note(name, started, server_seconds=server_seconds)
        if first in (COMMIT, ROLLBACK):
            self._section = OUTSIDE

    @property
    def section(self) -> str:
        """Whether the transaction under way reads or writes; empty outside of one."""
        return self._section

    def _begin_session(
        self,
        begin: Callable[..., AbstractAsyncContextManager[SASession]],
        section: str,
        **options: bool,
    ) -> AbstractAsyncContextManager[SASession]:
        self._section, self._asked_at = section, perf_counter()
        return begin(**options)

    async def _timed_redis(self, name: str, send: Callable[[], Awaitable[object]]) -> object:
        started = perf_counter()
        answer = await send()
        replies = answer if isinstance(answer, (list, tuple)) else [answer]
        received = sum(len(reply) for reply in replies if isinstance(reply, bytes))
        self.note(f"redis {name}", started, section=OUTSIDE, received=received)
        return answer


class TracedPlanner:
    """A planner that notes how long it plans, in whatever thread that is."""

    def __init__(self, planner: IncrementalPlanner, trace: Trace) -> None:
        """Plan as ``planner`` does."""
        self._planner = planner
        self._trace = trace
        # Run around each plan in the planner's own thread, by a profiler that looks at one thread.
        self.around: Optional[
            Callable[[Callable[[], Sequence[SessionAllocation]]], Sequence[SessionAllocation]]
        ] = None

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        """Plan, and note it."""
        return self._noted(partial(self._planner.plan, data))

    def plan_changes(self, refresh: Refresh) -> IncrementalPlan:
        """Plan from what has changed, and note it."""
        made: list[IncrementalPlan] = []

        def work() -> Sequence[SessionAllocation]:
            made.append(self._planner.plan_changes(refresh))
            return made[-1].allocations

        self._noted(work)
        return made[-1]

    def forget(self, scaling_group: Optional[ScalingGroupName] = None) -> None:
        """Forget what the planner remembers."""
        self._planner.forget(scaling_group)

    def _noted(self, work: Callable[[], Sequence[SessionAllocation]]) -> Sequence[SessionAllocation]:
        started = perf_counter()
        planned = work() if self.around is None else self.around(work)
        self._trace.note(PLAN, started, section=OUTSIDE, rows=len(planned))
        return planned


class TracedConnection(asyncpg.Connection):  # type: ignore[misc] # the driver says no types of it
    """The driver's connection; each of its calls is noted, with the rows and the bytes of its answer."""

    trace: Trace

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self._server_seconds = 0.0
        self._says_durations = False
        self._own_bytes = 0

    async def fetch(self, query: str, *parameters: object, **options: object) -> "list[asyncpg.Record]":
        await self._before(query, parameters)
        return await self._timed(
            query, lambda: super(TracedConnection, self).fetch(query, *parameters, **options), len
        )

    async def fetchrow(self, query: str, *parameters: object, **options: object) -> "Optional[asyncpg.Record]":
        await self._before(query, parameters)
        return await self._timed(
            query, lambda: super(TracedConnection, self).fetchrow(query, *parameters, **options), _count_one
        )

    async def fetchval(self, query: str, *parameters: object, **options: object) -> object:
        await self._before(query, parameters)
        return await self._timed(
            query, lambda: super(TracedConnection, self).fetchval(query, *parameters, **options), _count_one
        )

    async def execute(self, query: str, *parameters: object, **options: object) -> str:
        if parameters:
            await self._before(query, parameters)
            return await self._timed(
                query, lambda: super(TracedConnection, self).execute(query, *parameters, **options), _count_tag
            )
        self._listen()
        started = perf_counter()
        try:
            return str(await super().execute(query, **options))
        finally:
            self.trace.note_message(query, started, self._server_time())
            self._listen_no_more()

    async def copy_records_to_table(self, table_name: str, **options: object) -> str:
        return await self._timed(
            f"COPY {table_name}",
            lambda: super(TracedConnection, self).copy_records_to_table(table_name, **options),
            _count_tag,
        )

    async def prepare(self, query: str, **options: object) -> "_TracedStatement":
        return _TracedStatement(self, query, await super().prepare(query, **options))

    async def run_prepared(
        self, query: str, parameters: tuple[object, ...], fetch: Callable[..., Awaitable[T]]
    ) -> T:
        """Run a prepared statement, as SQLAlchemy does."""
        await self._before(query, parameters)
        return await self._timed(query, lambda: fetch(*parameters), lambda rows: len(rows))  # type: ignore[arg-type]

    async def run_unseen(self, query: str, *parameters: object) -> "list[asyncpg.Record]":
        """Run a statement of the profile's own, which is not noted."""
        return list(await super().fetch(query, *parameters))

    async def _before(self, query: str, parameters: tuple[object, ...]) -> None:
        trace = self.trace
        if trace.before_statement is not None and _CAN_BE_EXPLAINED.match(query):
            sent = SentStatement(self, trace.section, name_statement(query), query, parameters)
            await trace.before_statement(sent)

    async def _timed(
        self, query: str, send: Callable[[], Awaitable[T]], count: Callable[[T], Optional[int]]
    ) -> T:
        if not self.trace.records:
            return await send()
        before = bytes_received(self)
        self._listen()
        started = perf_counter()
        try:
            answer = await send()
        finally:
            self._listen_no_more()
        after = bytes_received(self)
        received = None if before is None or after is None else after - before - self._own_bytes
        self.trace.note(
            name_statement(query),
            started,
            server_seconds=self._server_time(),
            rows=count(answer),
            received=received,
        )
        return answer

    def _listen(self) -> None:
        self._server_seconds, self._says_durations, self._own_bytes = 0.0, False, 0
        # A message of the server is handed on before the answer that it came with is.
        self.add_log_listener(self._note_duration)

    def _listen_no_more(self) -> None:
        self.remove_log_listener(self._note_duration)

    def _server_time(self) -> Optional[float]:
        return self._server_seconds if self._says_durations else None

    def _note_duration(self, connection: object, message: "asyncpg.PostgresLogMessage") -> None:
        found = _DURATION.match(message.message or "")
        if found is not None:
            self._says_durations = True
            self._server_seconds += float(found[1]) / 1000
            # Each field has a letter before it and a zero behind it; so has the message a letter and a length.
            self._own_bytes += 6 + sum(2 + len(str(field)) for field in message.as_dict().values())


class _TracedStatement:
    """A prepared statement of the driver; all but what SQLAlchemy runs it by is passed on."""

    def __init__(self, connection: TracedConnection, query: str, statement: object) -> None:
        self._connection = connection
        self._query = query
        self._statement = statement

    def __getattr__(self, name: str) -> object:
        return getattr(self._statement, name)

    async def fetch(self, *parameters: object) -> "list[asyncpg.Record]":
        fetch: Callable[..., Awaitable[list[asyncpg.Record]]] = getattr(self._statement, _FETCH)
        return await self._connection.run_prepared(self._query, parameters, fetch)


_EXECUTE, _EXECUTE_COMMAND, _PIPELINE, _FETCH = "execute", "execute_command", "pipeline", "fetch"


def _count_one(answer: object) -> int:
    return 0 if answer is None else 1


def _count_tag(tag: str) -> Optional[int]:
    found = _TAG_ROWS.search(tag)
    return None if found is None else int(found[1])
