"""Gauges of what a process found while it led, which are gone once another leads."""

from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Final, Optional
from weakref import WeakKeyDictionary

from prometheus_client import Gauge, Metric


class LedGauge(Gauge):
    """A gauge with labels whose series are exported only while the process that set them leads.

    Looked at when it is scraped: a process that is cut off from the database, or busy, shows nothing old.
    """

    def show(self, labels: Sequence[str], value: float, leads: Optional[Callable[[], bool]] = None) -> None:
        """Set a series, to be shown while ``leads`` says so; without it until it is set again."""
        with _lock:
            _leaders.setdefault(self, {})[tuple(labels)] = leads
            self.labels(*labels).set(value)

    def collect(self) -> Iterable[Metric]:
        """Drop the series of who leads no more, and return the others."""
        with _lock:
            leaders = _leaders.get(self, {})
            for labels, leads in tuple(leaders.items()):
                if leads is not None and not leads():
                    del leaders[labels]
                    self.remove(*labels)
        return super().collect()


# A scrape comes in a thread of its own.
_lock: Final = Lock()
# Beside the gauges, as prometheus-client makes each of their series an object of the same class.
_leaders: "WeakKeyDictionary[LedGauge, dict[tuple[str, ...], Optional[Callable[[], bool]]]]" = (
    WeakKeyDictionary()
)
