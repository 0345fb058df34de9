"""The hand-off: a dispatcher of the user's tells the agents what was allocated, and what it told is marked."""

import asyncio
import inspect
from collections.abc import Collection, Sequence
from typing import Final, Optional, Protocol
from uuid import UUID

from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.lifecycle import SessionAttempt, UndispatchedSession
from scheduler_repo.errors import DispatcherFailed, InvalidWiring
from scheduler_repo.quoting import quoted, with_article
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.types import ScalingGroupName, SessionId
from scheduler_repo.validation import Seconds, check_range
from scheduler_repo.wiring import check_wiring

# A dispatcher that does not end when it is cancelled is left alone after so long.
_CANCEL_SECONDS: Final = 1.0


class Dispatcher(Protocol):
    """Tells agents to start what was allocated to them."""

    async def dispatch(self, sessions: Sequence[UndispatchedSession]) -> Collection[SessionId]:
        """Tell the agents of each session's kernels, naming the attempt; return the ids of the sessions told.

        The others, or all if it raises, are told of again. So may be what was told already: an agent that was
        told before knows the attempt, by ``session_id`` and ``retry_count``, and does nothing twice.
        """
        ...


def check_dispatcher(dispatcher: object) -> None:
    """Raise InvalidWiring for what is no dispatcher, such as a dispatcher's class."""
    if isinstance(dispatcher, type):
        name = dispatcher.__name__
        raise InvalidWiring(f"dispatcher is the class {name}; give an object, {name}()")
    dispatch = getattr(dispatcher, "dispatch", None)
    kind = type(dispatcher)
    if not inspect.iscoroutinefunction(dispatch):
        found = "without a method dispatch" if dispatch is None else "whose dispatch() is no coroutine function"
        raise InvalidWiring(
            f"dispatcher is {with_article(kind)} {found}; write: async def dispatch(self, sessions)"
        )
    try:
        inspect.signature(dispatch).bind(None)
    except TypeError as error:
        raise InvalidWiring(f"{kind.__name__}.dispatch() must take the sessions alone: {error}") from None


class HandOff:
    """Hands what is allocated to a dispatcher, and marks what that has told as dispatched.

    It remembers nothing of a group: what is not marked is found in the database, whoever allocated it.
    """

    def __init__(
        self, lifecycle: LifecycleRepository, dispatcher: Dispatcher, *, timeout: float = 30.0
    ) -> None:
        """A call of the dispatcher may take ``timeout`` seconds. Raises InvalidWiring and InvalidInput."""
        check_wiring(lifecycle, LifecycleRepository, "lifecycle", "LifecycleRepository(db_source)")
        check_dispatcher(dispatcher)
        check_range(timeout, Seconds, "timeout")
        self._lifecycle = lifecycle
        self._dispatcher = dispatcher
        self._timeout = timeout
        # Calls that did not end when they were cancelled.
        self._left: set[asyncio.Task[Collection[SessionId]]] = set()

    async def list_sessions(self, group: ScalingGroupName) -> tuple[UndispatchedSession, ...]:
        """List what is to be told, the longest allocated first; raises and costs as its repository does."""
        return await self._lifecycle.list_undispatched_sessions(group)

    async def hand_off(self, sessions: Sequence[UndispatchedSession], lease: Optional[Lease]) -> None:
        """Have a batch told, and mark what was.

        Raises what the dispatcher raises, DispatcherFailed if it hangs, returns something else than ids of
        these sessions, or has not told all (those that it has are marked then), StaleLeaseError and the errors
        of the database layer. Costs four statements, five with a lease.
        """
        told = self._check_told(await self._dispatch(sessions), sessions)
        attempts = [
            SessionAttempt(each.session_id, each.retry_count) for each in sessions if each.session_id in told
        ]
        if attempts:
            await self._lifecycle.mark_dispatched(attempts, lease=lease)
        if len(attempts) < len(sessions):
            raise self._failed(f"has told {len(attempts)} of {len(sessions)} sessions")

    async def _dispatch(self, sessions: Sequence[UndispatchedSession]) -> Collection[SessionId]:
        if self._left:
            raise self._failed("has still not returned from an earlier call that was cancelled")
        task = asyncio.ensure_future(self._dispatcher.dispatch(sessions))
        try:
            await asyncio.wait([task], timeout=self._timeout)
        except asyncio.CancelledError:
            await self._cancel(task)
            raise
        if not task.done():
            await self._cancel(task)
            raise self._failed(f"has not returned in {self._timeout:g} s")
        if task.cancelled():
            raise self._failed("was cancelled by itself")
        return task.result()

    async def _cancel(self, task: "asyncio.Task[Collection[SessionId]]") -> None:
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_SECONDS)
        if not task.done():
            self._left.add(task)
            task.add_done_callback(self._left.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _check_told(self, told: object, sessions: Sequence[UndispatchedSession]) -> frozenset[SessionId]:
        known = {each.session_id for each in sessions}
        if not isinstance(told, Collection) or isinstance(told, str):
            raise self._failed(f"returned {with_article(type(told))}, and no collection of ids")
        unknown = [each for each in told if not isinstance(each, UUID) or each not in known]
        if unknown:
            raise self._failed(f"returned {quoted(unknown[0])}, which it was not told of")
        return frozenset(known.intersection(told))

    def _failed(self, found: str) -> DispatcherFailed:
        return DispatcherFailed(
            f"{type(self._dispatcher).__name__}.dispatch() {found}",
            advice="what is not marked as dispatched is told of again",
        )
