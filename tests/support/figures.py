"""What the layer's metrics say now, as a scrape would find it."""

from uuid import uuid4

from prometheus_client import REGISTRY

from scheduler_repo.resilience.policies.metrics import DomainType, MetricArgs, MetricPolicy

_PREFIX = "backendai_layer_"


class LayerFigures:
    """The figures of one layer; those of a layer of its own begin at nothing."""

    def __init__(self, layer: str = "", domain: DomainType = DomainType.CLIENT) -> None:
        """Take the layer; a new one unless given."""
        self.domain = domain
        self.layer = layer or f"layer-{uuid4().hex[:8]}"

    @property
    def policy(self) -> MetricPolicy:
        """A policy that counts for this layer."""
        return MetricPolicy(MetricArgs(domain=self.domain, layer=self.layer))

    def in_flight(self, operation: str) -> float:
        return self._of("operation_triggered_count", operation)

    def ended(self, operation: str, success: bool) -> float:
        return self._of("operation_count_total", operation, success=str(success).lower())

    def errors(self, operation: str, error_code: str) -> float:
        return self._of("operation_error_count_total", operation, error_code=error_code)

    def retries(self, operation: str) -> float:
        return self._of("retry_count_total", operation)

    def durations(self, operation: str) -> float:
        return self._of("operation_duration_sec_count", operation)

    def _of(self, name: str, operation: str, **labels: str) -> float:
        labels |= {"domain": self.domain.value, "layer": self.layer, "operation": operation}
        return REGISTRY.get_sample_value(f"{_PREFIX}{name}", labels) or 0.0
