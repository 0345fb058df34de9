"""Counting and timing of the layer's operations, exported to Prometheus."""

import enum
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Final, TypeVar

import msgspec
from prometheus_client import Counter, Gauge, Histogram

from scheduler_repo.resilience.operation import current_operation
from scheduler_repo.resilience.resilience import Policy
from scheduler_repo.wiring import check_wiring

R = TypeVar("R")

_LABELS: Final = ("domain", "layer", "operation")
# From a cached answer to a deadline.
_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

TRIGGERED: Final = Gauge(
    "backendai_layer_operation_triggered_count", "Operations that are executing now", _LABELS
)
# The client library ends a counter's name in _total when it is scraped.
OPERATIONS: Final = Counter(
    "backendai_layer_operation_count", "Operations that have ended", (*_LABELS, "success")
)
OPERATION_ERRORS: Final = Counter(
    "backendai_layer_operation_error_count",
    "Operations that ended in an error, by the class of the exception",
    (*_LABELS, "error_code"),
)
RETRIES: Final = Counter("backendai_layer_retry_count", "Retries of operations", _LABELS)
DURATIONS: Final = Histogram(
    "backendai_layer_operation_duration_sec",
    "How long operations took, retries included, in seconds",
    _LABELS,
    buckets=_BUCKETS,
)


class DomainType(enum.StrEnum):
    """What kind of thing an operation is asked of."""

    REPOSITORY = "repository"
    CLIENT = "client"
    VALKEY = "valkey"


class MetricArgs(msgspec.Struct, frozen=True, kw_only=True):
    """Under which labels to count; ``layer`` is a LayerType, or a name of a user's own layer."""

    domain: DomainType
    layer: str


class _Children:
    """The metrics of one operation with their labels set: to look them up takes longer than to count."""

    __slots__ = ("duration", "failed", "labels", "retries", "succeeded", "triggered")

    def __init__(self, *labels: str) -> None:
        self.labels = labels
        self.triggered = TRIGGERED.labels(*labels)
        self.succeeded = OPERATIONS.labels(*labels, "true")
        self.failed = OPERATIONS.labels(*labels, "false")
        self.duration = DURATIONS.labels(*labels)
        self.retries = RETRIES.labels(*labels)


class MetricPolicy(Policy):
    """Counts and times calls, in some microseconds; a cancelled call counts as failed with CancelledError."""

    def __init__(self, args: MetricArgs) -> None:
        """Count under the labels of ``args``; raises InvalidWiring for anything else."""
        check_wiring(args, MetricArgs, "args", "MetricArgs(domain=..., layer=...)")
        self.args = args
        self._children: dict[str, _Children] = {}

    async def execute(self, call: Callable[[], Awaitable[R]]) -> R:
        operation = current_operation()
        name = "unnamed" if operation is None else operation.name
        children = self._children.get(name)
        if children is None:
            children = self._children[name] = _Children(self.args.domain.value, str(self.args.layer), name)
        if operation is not None:
            operation.observe_retries(children.retries.inc)
        children.triggered.inc()
        started = perf_counter()
        try:
            result = await call()
        except BaseException as error:
            children.failed.inc()
            OPERATION_ERRORS.labels(*children.labels, type(error).__name__).inc()
            raise
        else:
            children.succeeded.inc()
            return result
        finally:
            children.duration.observe(perf_counter() - started)
            children.triggered.dec()
