"""Sessions in Redis or Valkey: those that are asked for again and again while nothing happens to them."""

import asyncio
from collections import Counter
from collections.abc import Collection
from typing import Optional, Union

from scheduler_repo.cache.client import create_redis
from scheduler_repo.cache.lease_cache import LeaseCache
from scheduler_repo.cache.metrics import CacheName, CacheOutcome
from scheduler_repo.cache.pending_invalidations import PendingInvalidations
from scheduler_repo.cache.read_through import CachedKind, Codec
from scheduler_repo.cache.single_flight import BackgroundTasks
from scheduler_repo.cache.source import CacheSource
from scheduler_repo.database.change_listeners import ignore, listen
from scheduler_repo.entities.session import Session, SessionInfo
from scheduler_repo.errors import SessionNotFound
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.settings import CacheSettings
from scheduler_repo.types import SessionId
from scheduler_repo.validation import check_id

_resilience = layer_resilience(LayerType.SESSION_CACHE_SOURCE, retries=False)


def create_session_cache_source(settings: CacheSettings, db_source: SessionDBSource) -> "SessionCacheSource":
    """Make a cache source with a client of its own, as the settings say; connects to nothing yet."""
    return SessionCacheSource(create_redis(settings), db_source, timeout=settings.timeout)


class SessionCacheSource(CacheSource[SessionDBSource]):
    """Answers from Redis, else from the database, and removes from Redis what is changed.

    Every write of this package through the database source's engine is followed by the removal of what it
    changed, before it returns: whoever reads after it sees it. What is written by a process without a cache
    source, by other means, or right before a crash is seen when the entry has ended, ``lifetime`` seconds after
    it was read at the latest; loading a whole cluster counts as such. Readers that ask for one session at one
    time share one read, and may get what it was when the first of them asked.
    """

    source_type = SessionDBSource
    default_lifetime = 10.0

    def _open_caches(self, lifetime: float) -> None:
        self._tasks = BackgroundTasks()
        self._invalidations = PendingInvalidations(
            self.client, lifetime, lambda keys: self._sessions.counts.count_failed_invalidations(keys)
        )
        sessions = CachedKind(CacheName.SESSION, Codec(Session), _get_id, self.database)
        infos = CachedKind(CacheName.SESSION_INFO, Codec(SessionInfo), _get_id, self.database)
        self._sessions = LeaseCache(self.client, sessions, self._invalidations, lifetime=lifetime)
        self._infos = LeaseCache(self.client, infos, self._invalidations, lifetime=lifetime)
        listen(self.db_source.engine, self)

    @property
    def outcomes(self) -> Counter[CacheOutcome]:
        """How the look-ups of ``get_session_by_id`` and ``find_session`` so far have ended."""
        return self._sessions.counts.lookups

    @property
    def info_outcomes(self) -> Counter[CacheOutcome]:
        """How the look-ups of ``get_session_info`` so far have ended."""
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
        """Return a session as ``get_session_by_id`` does, or None if there is no session of this id.

        Raises InvalidInput and costs the same.
        """
        try:
            return await self._get(session_id)
        except SessionNotFound:
            return None

    @_resilience.apply(OperationKind.READ)
    async def get_session_info(self, session_id: SessionId) -> SessionInfo:
        """Return what lists show of a session; raises and costs as ``get_session_by_id`` does."""
        check_id(session_id, "session")
        return await self._infos.get(session_id, lambda: self.db_source.get_session_info(session_id))

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def sessions_changed(self, session_ids: Collection[SessionId]) -> None:
        """Remove these from Redis after the COMMIT of a write that changed them; raises nothing.

        Costs one round trip for up to 2,000 sessions. Where Redis fails, they are not believed in this process
        until they are gone.
        """
        keys, doubted = self._give_up(session_ids)
        # A caller that is cancelled now has written all the same.
        await asyncio.shield(self._tasks.start(self._invalidations.remove(keys, doubted)))

    def sessions_may_have_changed(self, session_ids: Collection[SessionId]) -> None:
        """Remove these from Redis in the background: a write was cut off at its COMMIT, which may stand."""
        keys, doubted = self._give_up(session_ids)
        self._tasks.start(self._invalidations.remove_unsettled(keys, doubted))

    async def drain(self) -> None:
        await self._sessions.drain()
        await self._infos.drain()
        await self._tasks.drain()
        await self.database.drain()

    async def aclose(self) -> None:
        ignore(self.db_source.engine, self)
        self._invalidations.hurry()
        await self.database.aclose()
        await self.drain()
        self._invalidations.close()
        await super().aclose()

    async def _get(self, session_id: SessionId) -> Session:
        check_id(session_id, "session")
        return await self._sessions.get(session_id, lambda: self.db_source.get_session_by_id(session_id))

    def _give_up(self, session_ids: Collection[SessionId]) -> tuple[list[str], float]:
        keys = []
        for cache in (self._sessions, self._infos):
            for session_id in session_ids:
                key = cache.build_key(session_id)
                cache.detach(key)
                keys.append(key)
        return keys, self._invalidations.doubt(keys)


def _get_id(session: Union[Session, SessionInfo]) -> SessionId:
    return session.session_id
