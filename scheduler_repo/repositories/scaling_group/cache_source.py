"""The totals of scaling groups in Redis or Valkey, for readers that allow some staleness."""

from collections import Counter

from scheduler_repo.cache.bounded_staleness import BoundedStalenessCache, Demand
from scheduler_repo.cache.client import create_redis
from scheduler_repo.cache.metrics import CacheName, CacheOutcome
from scheduler_repo.cache.read_through import CachedKind, Codec
from scheduler_repo.cache.source import CacheSource
from scheduler_repo.entities.scaling_group import ResourceTotals
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.settings import CacheSettings
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.validation import check_staleness, check_text

_resilience = layer_resilience(LayerType.SCALING_GROUP_CACHE_SOURCE, retries=False)


def create_scaling_group_cache_source(
    settings: CacheSettings, db_source: ScalingGroupDBSource
) -> "ScalingGroupCacheSource":
    """Build a cache source with a client of its own, which it closes; connects to nothing yet."""
    return ScalingGroupCacheSource(
        create_redis(settings), db_source, timeout=settings.timeout, lifetime=settings.lifetime
    )


class ScalingGroupCacheSource(CacheSource[ScalingGroupDBSource]):
    """Answers from Redis while an entry is young enough for the caller, else from the database."""

    source_type = ScalingGroupDBSource

    def _open_caches(self, lifetime: float) -> None:
        codec = Codec(ResourceTotals)
        name = CacheName.RESOURCE_TOTALS
        kind = CachedKind(name, codec, lambda totals: totals.scaling_group, self.database)
        self._totals = BoundedStalenessCache(self.client, kind, lifetime=lifetime)

    @property
    def outcomes(self) -> Counter[CacheOutcome]:
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

        async def read(_: object) -> ResourceTotals:
            return await self.db_source.get_total_resource_slots(scaling_group)

        return await self._totals.get(scaling_group, Demand(max_staleness), read)

    async def drain(self) -> None:
        await self._totals.drain()
        await self.database.drain()
