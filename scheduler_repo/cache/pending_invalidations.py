"""The keys that have changed and may still be in Redis: removed, and not believed until they are gone."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice, takewhile
from time import monotonic
from typing import Final, Optional

from scheduler_repo.cache.client import MAX_KEYS, ValkeyClient
from scheduler_repo.errors import CacheRefused, CacheUnavailable

# How many keys are remembered one by one; beyond, all entries are doubted for one lifetime.
_MAX_DOUBTED: Final = 100_000

# A server notices within a second that the client of a COMMIT is gone; only then the change may be seen.
_SETTLE_SECONDS: Final = 2.0


class PendingInvalidations:
    """The keys of one source's caches that this process has changed and that may still be in Redis.

    A key is doubted from the change on until the server has confirmed that its entry is gone, or the entry has
    ended by itself: a lifetime later, whatever became of Redis. Keys that could not be removed are removed
    before the client's breaker closes again. A server that crashed may come back with entries that it had
    removed: those from before a key's removal are not believed for as long as they can last.
    """

    def __init__(self, client: ValkeyClient, lifetime: float, on_failure: Callable[[int], None]) -> None:
        """Doubt keys for ``lifetime`` seconds, the longest of an entry.

        ``on_failure`` is told how many keys could not be removed at once.
        """
        self._client = client
        self._lifetime = lifetime
        self._on_failure = on_failure
        self._is_closing = False
        # What waits for its end in which event loop: a loop that was closed cannot be told.
        self._unsettled: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        # Until when each is doubted, in the order of these times.
        self._doubted: dict[str, float] = {}
        self._all_doubted_until = 0.0
        # Until when each may come back, in the order of these times, and the server's clock at its removal.
        self._removed: dict[str, tuple[float, int]] = {}
        client.before_recovery(self._catch_up)

    def is_doubted(self, key: str) -> bool:
        """Whether an entry of this key must not be believed."""
        return max(self._doubted.get(key, 0.0), self._all_doubted_until) > monotonic()

    def removed_at_ms(self, key: str) -> int:
        """When, by the server's clock, this key was last removed; an entry from before may have come back."""
        until, clock_ms = self._removed.get(key, (0.0, 0))
        return clock_ms if until > monotonic() else 0

    def doubt(self, keys: Sequence[str]) -> float:
        """Doubt keys from now on, and return until when: ``remove`` tells one change from the next by that."""
        now = monotonic()
        until = now + self._lifetime
        self._drop_ended(now)
        for key in keys:
            self._doubted.pop(key, None)
            self._doubted[key] = until
        if len(self._doubted) > _MAX_DOUBTED:
            self._doubted.clear()
            self._all_doubted_until = until
        return until

    async def remove(self, keys: Sequence[str], doubted: Optional[float]) -> None:
        """Remove keys, and doubt them no more unless ``doubted`` is None or that fails. Raises nothing."""
        for start in range(0, len(keys), MAX_KEYS):
            some = keys[start : start + MAX_KEYS]
            try:
                clock_ms = await self._client.remove(some)
            except CacheUnavailable:
                self._on_failure(len(some))
            else:
                self._trust(some, doubted, clock_ms)

    async def remove_unsettled(self, keys: Sequence[str], doubted: float) -> None:
        """Remove keys whose change may be under way: now, and again when the server has surely ended it."""
        await self.remove(keys, None)
        settled = asyncio.Event()
        self._unsettled[settled] = asyncio.get_running_loop()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(0 if self._is_closing else _SETTLE_SECONDS):
                    await settled.wait()
        finally:
            del self._unsettled[settled]
        await self.remove(keys, doubted)

    def hurry(self) -> None:
        """Skip the waits of ``remove_unsettled`` in this event loop, during shutdown."""
        self._is_closing = True
        running = asyncio.get_running_loop()
        for settled, loop in tuple(self._unsettled.items()):
            if loop is running:
                settled.set()

    def close(self) -> None:
        """Stop removing keys before the breaker closes."""
        self._client.forget(self._catch_up)

    async def _catch_up(self) -> None:
        self._drop_ended(monotonic())
        while self._doubted:
            some = dict(islice(self._doubted.items(), MAX_KEYS))
            try:
                clock_ms = await self._client.remove_now(tuple(some))
            except CacheRefused:
                # It answers again, if only to reads: here the keys stay doubted, elsewhere expiry ends them.
                return
            for key, doubted in some.items():
                self._trust((key,), doubted, clock_ms)

    def _trust(self, keys: Sequence[str], doubted: Optional[float], clock_ms: int) -> None:
        until = monotonic() + self._lifetime
        for key in keys:
            # Changed again meanwhile: the later change has its own removal.
            if doubted is not None and self._doubted.get(key) == doubted:
                del self._doubted[key]
                self._removed.pop(key, None)
                self._removed[key] = (until, clock_ms)
        # Of more than these the oldest are given up: it takes a crash, too, to bring them back.
        for key in tuple(islice(self._removed, max(0, len(self._removed) - _MAX_DOUBTED))):
            del self._removed[key]

    def _drop_ended(self, now: float) -> None:
        for key in tuple(takewhile(lambda each: self._doubted[each] <= now, self._doubted)):
            del self._doubted[key]
        for key in tuple(takewhile(lambda each: self._removed[each][0] <= now, self._removed)):
            del self._removed[key]
