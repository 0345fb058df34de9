"""What a plan of PostgreSQL does, found in its JSON."""

from collections.abc import Iterator, Mapping
from typing import Any

LARGE_TABLES = {"sessions", "kernels", "session_dependencies", "session_history"}


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def sequential_scans(plan: Mapping[str, Any]) -> set[str]:
    return {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}
