"""Every metric of the package, as a scrape finds it."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Final

from prometheus_client import REGISTRY

import scheduler_repo

OURS: Final = ("backendai_", "scheduler_repo_")


def import_all() -> None:
    """Import every module of the package, which makes its metrics."""
    for module in pkgutil.walk_packages(scheduler_repo.__path__, "scheduler_repo."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def gauge_samples() -> Iterator[tuple[str, dict[str, str]]]:
    """The name and labels of each sample of each gauge."""
    import_all()
    for family in REGISTRY.collect():
        if family.type == "gauge" and family.name.startswith(OURS):
            for sample in family.samples:
                yield sample.name, sample.labels
