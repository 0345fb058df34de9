"""The metrics of all caches."""

import collections
import enum
import weakref
from typing import Final

from prometheus_client import Counter, Gauge


class CacheName(enum.StrEnum):
    """The kinds of cached values, as entries and metrics name them."""

    SCHEDULING_DATA = "scheduling_data"
    SESSION = "session"
    SESSION_INFO = "session_info"
    RESOURCE_TOTALS = "resource_totals"


class CacheOutcome(enum.StrEnum):
    """How one look-up ended; the database answers all but HIT."""

    HIT = "hit"
    ABSENT = "absent"
    # Another reader is about to store it.
    BEING_FILLED = "being_filled"
    TOO_OLD = "too_old"
    # This process changed it, and the server has not confirmed that the entry is gone.
    INVALIDATED = "invalidated"
    # Cut short, damaged, of another type, or never an entry.
    UNREADABLE = "unreadable"
    # There are keys, and none of them signed it: forged or damaged, or stored by a process without them.
    BAD_SIGNATURE = "bad_signature"
    OTHER_FORMAT = "other_format"
    OTHER_KEY = "other_key"
    OTHER_DATABASE = "other_database"
    UNREACHABLE = "unreachable"
    # The server answered with an error.
    REFUSED = "refused"
    # All connections were taken.
    BUSY = "busy"
    # The client was closed, or belongs to another event loop.
    MISUSED = "misused"
    BREAKER_OPEN = "breaker_open"


class StoreOutcome(enum.StrEnum):
    """How storing one answer of the database ended."""

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


def show_breaker(client: object, *, is_open: bool) -> None:
    """Count a client's breaker as open or closed; a second call for the same state changes nothing."""
    if not is_open:
        _open_breakers.discard(client)
    elif client not in _open_breakers:
        _open_breakers.add(client)
        BREAKER_OPENINGS.inc()


class CacheCounts:
    """The counts of one cache: exported, and ``lookups`` for the owner of the source.

    They are of look-ups, of attempts to store an answer, and of entries that could not be removed at once.
    """

    def __init__(self, cache: CacheName) -> None:
        self.lookups: collections.Counter[CacheOutcome] = collections.Counter()
        self._lookups = {outcome: LOOKUPS.labels(cache, outcome) for outcome in CacheOutcome}
        self._stores = {outcome: STORES.labels(cache, outcome) for outcome in StoreOutcome}
        self._failed_invalidations = FAILED_INVALIDATIONS.labels(cache)

    def count_look_up(self, outcome: CacheOutcome) -> None:
        self.lookups[outcome] += 1
        self._lookups[outcome].inc()

    def count_store(self, outcome: StoreOutcome) -> None:
        self._stores[outcome].inc()

    def count_failed_invalidations(self, entries: int) -> None:
        self._failed_invalidations.inc(entries)
