"""Read-through caching in Redis or Valkey, never trusted and never needed.

``read_through`` is what all caches share: keys, the entry around a value (``entry``), the one check of it,
counts. It has two policies of freshness: ``bounded_staleness`` answers with values of a bounded age,
``lease_cache`` with values that are removed when they change (``pending_invalidations``). ``client`` sends the
commands, behind one breaker. ``source`` is the base of the repositories' cache sources, which alone use this.
"""

import importlib.util

from scheduler_repo.errors import MissingDependency

if importlib.util.find_spec("redis") is None:
    raise MissingDependency(
        "the package redis, which scheduler-repo needs, is not installed; pip install 'redis[hiredis]>=6.0'"
    )
