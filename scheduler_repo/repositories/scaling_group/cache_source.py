"""The totals of scaling groups in Redis or Valkey, for readers that allow some staleness."""

from typing import TYPE_CHECKING, Final, Union

from scheduler_repo.cache.bounded_staleness import AgedCache
from scheduler_repo.cache.client import DEFAULT_TIMEOUT, ValkeyClient, create_redis
from scheduler_repo.cache.database_key import DatabaseKeyReader
from scheduler_repo.cache.metrics import CacheName
from scheduler_repo.entities.scaling_group import ResourceTotals
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.settings import CacheSettings
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.validation import check_staleness, check_text, check_wiring

if TYPE_CHECKING:
    from collections import Counter

    from redis.asyncio import Redis

    from scheduler_repo.cache.metrics import CacheOutcome

DEFAULT_LIFETIME: Final = 60.0

_resilience = layer_resilience(LayerType.SCALING_GROUP_CACHE_SOURCE, retries=False)


def create_scaling_group_cache_source(
    settings: CacheSettings, db_source: ScalingGroupDBSource
) -> "ScalingGroupCacheSource":
    """Build a cache source with a client of its own, which it closes; connects to nothing yet."""
    return ScalingGroupCacheSource(
        create_redis(settings), db_source, timeout=settings.timeout, lifetime=settings.lifetime
    )


class ScalingGroupCacheSource:
    """Answers from Redis while an entry is young enough for the caller, else from the database."""

    def __init__(
        self,
        redis: Union["Redis", ValkeyClient],
        db_source: ScalingGroupDBSource,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        lifetime: float = DEFAULT_LIFETIME,
    ) -> None:
        """Own a Redis client, or share a ValkeyClient, which its maker closes; raises InvalidWiring.

        ``timeout`` bounds each command of an owned client, ``lifetime`` each entry (both in seconds).
        """
        check_wiring(db_source, ScalingGroupDBSource, "db_source", "ScalingGroupDBSource(engine)")
        self._is_shared = isinstance(redis, ValkeyClient)
        self.client = redis if isinstance(redis, ValkeyClient) else ValkeyClient(redis, timeout=timeout)
        self._db_source = db_source
        self._totals = AgedCache(
            self.client,
            CacheName.RESOURCE_TOTALS,
            ResourceTotals,
            DatabaseKeyReader(db_source.engine).get,
            lifetime=lifetime,
        )

    @property
    def outcomes(self) -> "Counter[CacheOutcome]":
        """The look-ups so far, counted by their outcome."""
        return self._totals.counts.lookups

    @_resilience.apply(OperationKind.READ)
    async def get_total_resource_slots(
        self, scaling_group: ScalingGroupName, max_staleness: float = 0
    ) -> ResourceTotals:
        """Return the totals of a group as they were at most ``max_staleness`` seconds ago.

        0 always asks the database. Raises ScalingGroupNotFound, InvalidInput for a malformed name or staleness,
        and the errors of the database layer. Costs one round trip to Redis if staleness is allowed, and two
        statements if no entry is young enough.
        """
        check_text(scaling_group, "scaling group")
        check_staleness(max_staleness)
        return await self._totals.get(
            scaling_group, max_staleness, lambda: self._db_source.get_total_resource_slots(scaling_group)
        )

    async def drain(self) -> None:
        """Wait until all reads and stores under way have ended."""
        await self._totals.drain()

    async def aclose(self) -> None:
        """Wait as ``drain`` does, and close a client that is not shared; call it before the event loop ends."""
        await self.drain()
        if not self._is_shared:
            await self.client.aclose()
