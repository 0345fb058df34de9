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

_LABELS: Final = ("database",)


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
        return self._build_families()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Read the figures; costs nothing between scrapes."""
        size, in_use, waiting = families = self._build_families()
        with self._lock:
            engines = list(self._engines)
        by_database: dict[str, list[ExtendedAsyncSAEngine]] = {}
        for engine in engines:
            by_database.setdefault(engine.url.database or "", []).append(engine)
        for database, theirs in by_database.items():
            size.add_metric([database], sum(engine.pool_size for engine in theirs))
            in_use.add_metric([database], sum(engine.connections_in_use for engine in theirs))
            waiting.add_metric([database], sum(engine.callers_waiting for engine in theirs))
        return families

    def _build_families(self) -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
        return (
            GaugeMetricFamily(
                "scheduler_repo_pool_size", "Connections that the pools may have at most", labels=_LABELS
            ),
            GaugeMetricFamily(
                "scheduler_repo_pool_connections_in_use",
                "Connections that are out of the pools",
                labels=_LABELS,
            ),
            GaugeMetricFamily(
                "scheduler_repo_pool_callers_waiting", "Callers that wait for a connection", labels=_LABELS
            ),
        )


_POOLS: Final = PoolCollector()
REGISTRY.register(_POOLS)


def watch_pool(engine: "ExtendedAsyncSAEngine") -> None:
    """Show an engine's pool in the metrics of this process."""
    _POOLS.watch(engine)
