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
from scheduler_repo.validation import check_staleness, check_text

if TYPE_CHECKING:
    from collections import Counter

    from redis.asyncio import Redis

    from scheduler_repo.cache.metrics import CacheOutcome

DEFAULT_LIFETIME: Final = 60.0

_resilience = layer_resilience(LayerType.SCALING_GROUP_CACHE_SOURCE, retries=False)


def create_scaling_group_cache_source(
    settings: CacheSettings, db_source: ScalingGroupDBSource
) -> "ScalingGroupCacheSource":
    """Make a cache source with a client of its own, as the settings say; connects to nothing yet."""
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
        """Take a client, or one that is shared with other cache sources, and then closed by its maker.

        ``timeout`` bounds each command, unless the client is shared, ``lifetime`` each entry (both in seconds).
        """
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
        """What came of the look-ups so far."""
        return self._totals.counts.lookups

    @_resilience.apply(OperationKind.READ)
    async def get_total_resource_slots(
        self, scaling_group: ScalingGroupName, max_staleness: float = 0
    ) -> ResourceTotals:
        """Sum what the agents of a group have and have given away, at most ``max_staleness`` seconds ago.

        0 always asks the database. Raises ScalingGroupNotFound, InvalidInput for a name or staleness that is
        none, and the errors of the database layer. Costs one round trip to Redis if staleness is allowed, and
        two statements if there is no entry so young.
        """
        check_text(scaling_group, "scaling group")
        check_staleness(max_staleness)
        return await self._totals.get(
            scaling_group, max_staleness, lambda: self._db_source.get_total_resource_slots(scaling_group)
        )

    async def drain(self) -> None:
        """Wait until everything that is being read or stored has been, or has failed."""
        await self._totals.drain()

    async def aclose(self) -> None:
        """Finish what is under way, and close a client that is not shared; do so before the event loop ends."""
        await self.drain()
        if not self._is_shared:
            await self.client.aclose()
