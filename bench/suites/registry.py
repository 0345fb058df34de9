"""All suites, by name."""

from collections.abc import Mapping
from typing import Final

from bench.suites.cache import CACHE
from bench.suites.delta import DELTA
from bench.suites.growth import GROWTH
from bench.suites.history import HISTORY
from bench.suites.memory import MEMORY
from bench.suites.overhead import OVERHEAD
from bench.suites.read import READ
from bench.suites.running import RUNNING
from bench.suites.stall import STALL
from bench.suites.suite import Suite
from bench.suites.throughput import THROUGHPUT
from bench.suites.tick import TICK
from bench.suites.write import WRITE

_ALL: Final = (READ, WRITE, CACHE, GROWTH, DELTA, HISTORY, RUNNING, STALL, MEMORY, OVERHEAD, TICK, THROUGHPUT)
SUITES: Final[Mapping[str, Suite]] = {suite.name: suite for suite in _ALL}
