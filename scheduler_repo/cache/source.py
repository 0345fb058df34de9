"""The base of every cache source."""

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, Optional, Protocol, TypeVar, Union

from redis.asyncio import Redis

from scheduler_repo.cache.client import DEFAULT_TIMEOUT, ValkeyClient
from scheduler_repo.cache.current_database import CurrentDatabase
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.wiring import check_wiring


class _HasEngine(Protocol):
    engine: ExtendedAsyncSAEngine


SourceT = TypeVar("SourceT", bound=_HasEngine)


class CacheSource(ABC, Generic[SourceT]):
    """Answers from Redis or Valkey where it can, else from a database source."""

    source_type: ClassVar[type]
    default_lifetime: ClassVar[float] = 60.0

    def __init__(
        self,
        redis: Union["Redis", ValkeyClient],
        db_source: SourceT,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        lifetime: Optional[float] = None,
    ) -> None:
        """Own a client of the driver; a ValkeyClient is shared with other sources, and closed by its maker.

        ``timeout`` bounds each command, unless the client is shared; ``lifetime`` bounds each entry, None is
        the default of the class (both in seconds). Raises InvalidWiring for other parts, and InvalidInput for
        a time that is out of range.
        """
        check_wiring(db_source, self.source_type, "db_source", f"{self.source_type.__name__}(engine)")
        self._owns_client = not isinstance(redis, ValkeyClient)
        self.client = redis if isinstance(redis, ValkeyClient) else ValkeyClient(redis, timeout=timeout)
        self.db_source = db_source
        self.database = CurrentDatabase(db_source.engine)
        self._open_caches(self.default_lifetime if lifetime is None else lifetime)

    @abstractmethod
    def _open_caches(self, lifetime: float) -> None:
        """Make the caches; called once, by the constructor."""

    @abstractmethod
    async def drain(self) -> None:
        """Wait until everything that is under way has been done, or has failed."""

    async def aclose(self) -> None:
        """Finish what is under way, and close an own client; do so before the event loop ends."""
        await self.database.aclose()
        await self.drain()
        if self._owns_client:
            await self.client.aclose()
