"""What comes of asking the caches, counted in one place."""

import collections
import enum
import weakref
from typing import Final

from prometheus_client import Counter, Gauge


class CacheName(enum.StrEnum):
    """What is cached, as entries and metrics name it."""

    SCHEDULING_DATA = "scheduling_data"
    SESSION = "session"
    SESSION_INFO = "session_info"
    RESOURCE_TOTALS = "resource_totals"


class CacheOutcome(enum.StrEnum):
    """What came of one look-up; all but HIT are answered by the database."""

    HIT = "hit"
    ABSENT = "absent"
    # Another reader is about to store it.
    BEING_FILLED = "being_filled"
    TOO_OLD = "too_old"
    # This process changed it, and the server has not confirmed that the entry is gone.
    INVALIDATED = "invalidated"
    # Cut short, damaged, of another type, or never an entry.
    UNREADABLE = "unreadable"
    OTHER_FORMAT = "other_format"
    OTHER_KEY = "other_key"
    OTHER_DATABASE = "other_database"
    UNREACHABLE = "unreachable"
    # The server answered with an error.
    REFUSED = "refused"
    # All connections were taken.
    BUSY = "busy"
    BREAKER_OPEN = "breaker_open"


class StoreOutcome(enum.StrEnum):
    """What became of an answer that was to be stored."""

    STORED = "stored"
    # Changed, or dropped from the cache, since it was read.
    SUPERSEDED = "superseded"
    FAILED = "failed"


LOOKUPS: Final = Counter(
    "scheduler_repo_cache_lookup_count", "Look-ups in a cache, by what came of them", ["cache", "outcome"]
)
STORES: Final = Counter(
    "scheduler_repo_cache_store_count",
    "Answers of the database that were to be stored in a cache",
    ["cache", "outcome"],
)
FAILED_INVALIDATIONS: Final = Counter(
    "scheduler_repo_cache_failed_invalidation_count",
    "Changed entries that could not be removed at once; they end by expiry at the latest",
    ["cache"],
)
OPEN_BREAKERS: Final = Gauge(
    "scheduler_repo_cache_open_breakers", "Clients of Redis or Valkey that do not ask it now, as it failed"
)
BREAKER_OPENINGS: Final = Counter(
    "scheduler_repo_cache_breaker_opening_count", "How often a client of Redis or Valkey ceased to ask it"
)
_open_breakers: "weakref.WeakSet[object]" = weakref.WeakSet()


# A client that is dropped while its breaker is open does not count any more.
OPEN_BREAKERS.set_function(lambda: len(_open_breakers))


def breaker_changed(client: object, *, is_open: bool) -> None:
    """Count that a client's breaker is open now, or is closed again; told twice is told once."""
    if not is_open:
        _open_breakers.discard(client)
    elif client not in _open_breakers:
        _open_breakers.add(client)
        BREAKER_OPENINGS.inc()


class CacheCounts:
    """The counts of one cache of one source: exported, and ``lookups`` for whoever holds the source."""

    def __init__(self, cache: CacheName) -> None:
        """Take what is cached."""
        self.lookups: collections.Counter[CacheOutcome] = collections.Counter()
        self._lookups = {outcome: LOOKUPS.labels(cache, outcome) for outcome in CacheOutcome}
        self._stores = {outcome: STORES.labels(cache, outcome) for outcome in StoreOutcome}
        self._failed_invalidations = FAILED_INVALIDATIONS.labels(cache)

    def looked_up(self, outcome: CacheOutcome) -> None:
        """Count a look-up."""
        self.lookups[outcome] += 1
        self._lookups[outcome].inc()

    def stored(self, outcome: StoreOutcome) -> None:
        """Count an answer that was to be stored."""
        self._stores[outcome].inc()

    def not_invalidated(self, entries: int) -> None:
        """Count entries that could not be removed at once."""
        self._failed_invalidations.inc(entries)
