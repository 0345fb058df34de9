"""Sessions in Redis or Valkey: those that are asked for again and again while nothing happens to them."""

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Final, Optional, Union

from scheduler_repo.cache.background import BackgroundTasks
from scheduler_repo.cache.client import DEFAULT_TIMEOUT, ValkeyClient, create_redis
from scheduler_repo.cache.database_key import DatabaseKeyReader
from scheduler_repo.cache.lease_cache import InvalidatedCache
from scheduler_repo.cache.metrics import CacheName
from scheduler_repo.cache.pending_invalidations import Invalidations
from scheduler_repo.database.change_listeners import ignore, listen
from scheduler_repo.entities.session import Session, SessionInfo
from scheduler_repo.errors import SessionNotFound
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.settings import CacheSettings
from scheduler_repo.types import SessionId
from scheduler_repo.validation import check_ids

if TYPE_CHECKING:
    from collections import Counter

    from redis.asyncio import Redis

    from scheduler_repo.cache.metrics import CacheOutcome

DEFAULT_LIFETIME: Final = 10.0

_resilience = layer_resilience(LayerType.SESSION_CACHE_SOURCE, retries=False)


def create_session_cache_source(settings: CacheSettings, db_source: SessionDBSource) -> "SessionCacheSource":
    """Make a cache source with a client of its own, as the settings say; connects to nothing yet."""
    return SessionCacheSource(create_redis(settings), db_source, timeout=settings.timeout)


class SessionCacheSource:
    """Answers from Redis, else from the database, and removes from Redis what is changed.

    Every write of this package through the database source's engine is followed by the removal of what it
    changed, before it returns: whoever reads after it sees it. What is written by a process without a cache
    source, by other means, or right before a crash is seen when the entry has ended, ``lifetime`` seconds after
    it was read at the latest; loading a whole cluster counts as such. Readers that ask for one session at one
    time share one read, and may get what it was when the first of them asked.
    """

    def __init__(
        self,
        redis: Union["Redis", ValkeyClient],
        db_source: SessionDBSource,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        lifetime: float = DEFAULT_LIFETIME,
    ) -> None:
        """Take a client, or one that is shared with other cache sources, and then closed by its maker.

        ``timeout`` bounds each command, unless the client is shared, ``lifetime`` each entry (both in seconds).
        """
        self._is_shared = isinstance(redis, ValkeyClient)
        self.client = redis if isinstance(redis, ValkeyClient) else ValkeyClient(redis, timeout=timeout)
        self._db_source = db_source
        self._tasks = BackgroundTasks()
        database_key = DatabaseKeyReader(db_source.engine)
        self._invalidations = Invalidations(
            self.client, lifetime, on_failure=lambda keys: self._sessions.counts.not_invalidated(keys)
        )
        self._sessions = InvalidatedCache(
            self.client,
            CacheName.SESSION,
            Session,
            database_key.get,
            self._invalidations,
            lifetime=lifetime,
            tasks=self._tasks,
        )
        self._infos = InvalidatedCache(
            self.client,
            CacheName.SESSION_INFO,
            SessionInfo,
            database_key.get,
            self._invalidations,
            lifetime=lifetime,
            tasks=self._tasks,
        )
        listen(db_source.engine, self)

    @property
    def outcomes(self) -> "Counter[CacheOutcome]":
        """What came of the look-ups of ``get_session_by_id`` and ``find_session`` so far."""
        return self._sessions.counts.lookups

    @property
    def info_outcomes(self) -> "Counter[CacheOutcome]":
        """What came of the look-ups of ``get_session_info`` so far."""
        return self._infos.counts.lookups

    @_resilience.apply(OperationKind.READ)
    async def get_session_by_id(self, session_id: SessionId) -> Session:
        """Return a session.

        Raises SessionNotFound, InvalidInput for an id that is none, and the errors of the database layer. Costs
        one round trip to Redis, and one statement if there is no entry.
        """
        return await self._get(session_id)

    @_resilience.apply(OperationKind.READ)
    async def find_session(self, session_id: SessionId) -> Optional[Session]:
        """Do as ``get_session_by_id`` does, and answer None if there is no session of this id."""
        try:
            return await self._get(session_id)
        except SessionNotFound:
            return None

    @_resilience.apply(OperationKind.READ)
    async def get_session_info(self, session_id: SessionId) -> SessionInfo:
        """Return what lists show of a session; raises and costs as ``get_session_by_id`` does."""
        check_ids("session", (session_id,))
        return await self._infos.get(
            self._infos.key_of(session_id), lambda: self._db_source.get_session_info(session_id)
        )

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def sessions_changed(self, session_ids: Collection[SessionId]) -> None:
        """Remove these from Redis, as a write that changed them was committed; raises nothing.

        Costs one round trip for up to 2,000 sessions. Where Redis fails, they are not believed in this process
        until they are gone.
        """
        keys, doubted = self._give_up(session_ids)
        # A caller that is cancelled now has written all the same.
        await asyncio.shield(self._tasks.start(self._invalidations.remove(keys, doubted)))

    def sessions_may_have_changed(self, session_ids: Collection[SessionId]) -> None:
        """Remove these from Redis in the background: a write was cut off at its COMMIT, and may stand."""
        keys, doubted = self._give_up(session_ids)
        self._tasks.start(self._invalidations.remove_unsettled(keys, doubted))

    async def drain(self) -> None:
        """Wait until everything that is being read, stored or removed has been, or has failed."""
        await self._sessions.drain()
        await self._infos.drain()
        await self._tasks.drain()

    async def aclose(self) -> None:
        """Finish what is under way, and close a client that is not shared; do so before the event loop ends."""
        ignore(self._db_source.engine, self)
        self._invalidations.hurry()
        await self.drain()
        self._invalidations.close()
        if not self._is_shared:
            await self.client.aclose()

    async def _get(self, session_id: SessionId) -> Session:
        check_ids("session", (session_id,))
        return await self._sessions.get(
            self._sessions.key_of(session_id), lambda: self._db_source.get_session_by_id(session_id)
        )

    def _give_up(self, session_ids: Collection[SessionId]) -> tuple[list[str], float]:
        keys = []
        for cache in (self._sessions, self._infos):
            for session_id in session_ids:
                key = cache.key_of(session_id)
                cache.detach(key)
                keys.append(key)
        return keys, self._invalidations.doubt(keys)
