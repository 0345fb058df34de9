"""The metrics of this process's connection pools, read when they are scraped."""

from collections.abc import Iterable
from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from scheduler_repo.database.engine import ExtendedAsyncSAEngine

# By the property of an engine that they add up.
_GAUGES: Final = {
    "pool_size": ("scheduler_repo_pool_size", "Connections that the pools may have at most"),
    "connections_in_use": ("scheduler_repo_pool_connections_in_use", "Connections that are out of the pools"),
    "callers_waiting": ("scheduler_repo_pool_callers_waiting", "Callers that wait for a connection"),
}


class PoolCollector(Collector):
    """Adds up the pools of the engines that it watches, by the name of their database."""

    def __init__(self) -> None:
        self._engines: WeakSet[ExtendedAsyncSAEngine] = WeakSet()
        # A scrape comes in a thread of its own.
        self._lock = Lock()

    def watch(self, engine: "ExtendedAsyncSAEngine") -> None:
        """Show an engine's pool for as long as the engine is there; a second call changes nothing."""
        with self._lock:
            self._engines.add(engine)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Name the metrics, without figures."""
        return [GaugeMetricFamily(name, text, labels=["database"]) for name, text in _GAUGES.values()]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Read the figures; costs nothing between scrapes."""
        with self._lock:
            engines = list(self._engines)
        by_database: dict[str, list[ExtendedAsyncSAEngine]] = {}
        for engine in engines:
            by_database.setdefault(engine.url.database or "", []).append(engine)
        for family, name in zip(self.describe(), _GAUGES, strict=True):
            for database, theirs in by_database.items():
                family.add_metric([database], sum(getattr(engine, name) for engine in theirs))
            yield family


_POOLS: Final = PoolCollector()
REGISTRY.register(_POOLS)
watch_pool: Final = _POOLS.watch
