"""One figure of the default registry, as a scrape would find it."""

from prometheus_client import REGISTRY


def sample(name: str, **labels: str) -> float:
    """The value of a sample; 0 before its metric was first counted under these labels."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
