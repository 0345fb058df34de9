"""Many callers on a small pool, some of them cancelled, and a record of what each of them was told.

A session of which a caller was told that it is enqueued is in every later read, until someone begins to cancel
it; one that is told to be cancelled is in none. Of a call that was itself cancelled nothing is expected.
"""

import asyncio
import random
from collections.abc import Coroutine
from time import monotonic
from typing import Final, Optional, TypeVar
from uuid import uuid4

import msgspec

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.types import KernelId, SessionId
from tests.support.small_cluster import GROUP, session

_CANCELLED_SHARE: Final = 1 / 3
# From a cancel before the call begins to one after most calls have ended.
_LONGEST_DELAY: Final = 0.5
_TURNS: Final = 40

ResultT = TypeVar("ResultT")


class Told(msgspec.Struct):
    """What the callers were told, and what they found that contradicts it."""

    enqueued: set[SessionId] = msgspec.field(default_factory=set)
    ending: set[SessionId] = msgspec.field(default_factory=set)
    ended: set[SessionId] = msgspec.field(default_factory=set)
    calls: int = 0
    cancelled_calls: int = 0
    not_yet_seen: list[SessionId] = msgspec.field(default_factory=list)
    still_seen: list[SessionId] = msgspec.field(default_factory=list)


class Crowd:
    """Callers that enqueue a session, read the group, and cancel the session, over and over."""

    def __init__(self, engine: ExtendedAsyncSAEngine, seed: int) -> None:
        """Take the engine that all share; the delays before cancels follow from ``seed``."""
        self._sessions = SessionRepository(SessionDBSource(engine))
        self._lifecycle = LifecycleRepository(LifecycleDBSource(engine))
        self._scheduler = SchedulerRepository(SchedulerDBSource(engine))
        self._random = random.Random(seed)  # noqa: S311 - the same delays every time
        self.told = Told()

    async def run(self, callers: int, seconds: float) -> None:
        """Have so many callers call for so long."""
        until = monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(self._call_until(until))

    async def _call_until(self, until: float) -> None:
        while monotonic() < until:
            session_id = await self._enqueue()
            await self._read()
            if session_id is not None:
                await self._end(session_id)

    async def _enqueue(self) -> Optional[SessionId]:
        session_id, kernel_id = SessionId(uuid4()), KernelId(uuid4())
        spec = session(0, 1)
        kernels = tuple(msgspec.structs.replace(kernel, kernel_id=kernel_id) for kernel in spec.kernels)
        spec = msgspec.structs.replace(spec, session_id=session_id, kernels=kernels)
        if await self._perhaps_cancelled(self._sessions.enqueue_sessions([spec])) is None:
            return None
        self.told.enqueued.add(session_id)
        return session_id

    async def _read(self) -> None:
        told = self.told
        expected, ended = told.enqueued - told.ending, set(told.ended)
        data = await self._perhaps_cancelled(self._scheduler.get_scheduling_data(GROUP))
        if data is not None:
            seen = {pending.session_id for pending in data.pending_sessions}
            told.not_yet_seen.extend(expected - seen - told.ending)
            told.still_seen.extend(ended & seen)

    async def _end(self, session_id: SessionId) -> None:
        self.told.ending.add(session_id)
        result = await self._perhaps_cancelled(self._lifecycle.mark_cancelled([session_id]))
        if result is not None:
            assert result.changed == (session_id,)
            self.told.ended.add(session_id)

    async def _perhaps_cancelled(self, call: Coroutine[None, None, ResultT]) -> Optional[ResultT]:
        """Make a call, every third one with a cancel at some await; None if it was cancelled."""
        self.told.calls += 1
        task = asyncio.ensure_future(call)
        if self._random.random() < _CANCELLED_SHARE:
            if self._random.random() < 0.5:
                await asyncio.wait([task], timeout=self._random.uniform(0, _LONGEST_DELAY))
            else:
                for _ in range(self._random.randrange(_TURNS)):
                    await asyncio.sleep(0)
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            self.told.cancelled_calls += 1
            return None
