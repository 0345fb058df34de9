"""Notifications between processes, by NOTIFY: a connection of its own that listens, as long as it can.

Hints only: one that is lost costs its hearer time, and nothing else.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Final, Optional

import asyncpg

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.database.errors import translated_errors
from scheduler_repo.errors import EngineClosed, SchedulerRepoError, WrongEventLoop
from scheduler_repo.quoting import get_logger

CHANNEL: Final = "scheduler_repo_changes"

_SEND: Final = "SELECT pg_notify($1, each) FROM unnest($2::text[]) AS each"
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
# A host that is gone says nothing: it is asked now and then.
_CHECK_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 5.0
_CHECK: Final = "SELECT"

_logger = get_logger(__name__)


class Listening:
    """Listens on the channel from ``start`` to ``aclose``; connects again whenever the connection is lost."""

    def __init__(
        self, engine: ExtendedAsyncSAEngine, heard: Callable[[str], None], resumed: Callable[[], None]
    ) -> None:
        """Call ``heard`` with each payload, and ``resumed`` when what came before may have been missed."""
        self._engine = engine
        self._heard = heard
        self._resumed = resumed
        self._task: Optional[asyncio.Task[None]] = None
        self._has_warned = False
        self._was_on = False
        self.is_on = False

    def start(self) -> None:
        """Begin, once; behind a pooler in transaction mode nothing can be heard, which is said once."""
        if self._task is not None or self._has_warned:
            return
        if self._engine.shares_connections:
            self._warn("a pooler in transaction mode passes none on")
        else:
            self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop, and close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                with translated_errors():
                    await self._listen_once()
            except (EngineClosed, WrongEventLoop):
                return
            except (SchedulerRepoError, OSError) as error:
                self._warn(str(error))
            # What was lost after a while is there again, most often.
            pause = _FIRST_PAUSE if self._was_on else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _listen_once(self) -> None:
        """Listen until the connection is lost, or as old as a connection may be."""
        self._was_on = False
        try:
            async with self._engine.connect_apart() as driver:
                lost = asyncio.Event()
                driver.add_termination_listener(lambda _: lost.set())
                await driver.add_listener(CHANNEL, self._hear)
                self.is_on, self._was_on, self._has_warned = True, True, False
                self._resumed()
                await self._watch(driver, lost)
        finally:
            self.is_on = False

    def _hear(
        self, _driver: "asyncpg.Connection[asyncpg.Record]", _pid: int, _channel: str, payload: object
    ) -> None:
        self._heard(str(payload))

    async def _watch(self, driver: "asyncpg.Connection[asyncpg.Record]", lost: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        # The address may lead to another server by then.
        end = loop.time() + self._engine.connection_lifetime
        while not lost.is_set() and loop.time() < end:
            try:
                async with asyncio.timeout(min(_CHECK_SECONDS, self._engine.connection_lifetime)):
                    await lost.wait()
            except TimeoutError:
                await driver.execute(_CHECK, timeout=_ANSWER_SECONDS)

    def _warn(self, reason: str) -> None:
        """Say that nothing is heard, once until something is."""
        if not self._has_warned:
            self._has_warned = True
            _logger.warning("no notifications of changes, they are polled for instead: %s", reason)


async def send_notifications(engine: ExtendedAsyncSAEngine, payloads: Collection[str]) -> None:
    """Send payloads to all that listen, in a transaction of its own; a failure is no more than a lost hint."""
    try:
        async with engine.begin_session() as db_sess:
            await driver_connection(db_sess).execute(_SEND, CHANNEL, list(payloads))
    except (SchedulerRepoError, OSError) as error:
        _logger.debug("changes were not announced: %s", error)
