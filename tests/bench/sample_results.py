"""Results of suites, as an earlier run may have left them, made up."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

MACHINE: Final[Mapping[str, object]] = {
    "measured_at": "2026-03-01T10:00+00:00",
    "commit": None,
    "processor": "A processor",
    "processors": 2,
    "memory_mib": 24_105,
    "load_average": [0.1, 0.1, 0.1],
    "postgresql": {"server_version": "18.0"},
}
BLOCKS: Final = (
    "median_block_ms",
    "block_p90_ms",
    "block_p99_ms",
    "usual_longest_block_ms",
    "longest_block_ms",
)


def sample_case(name: str, median_ms: float, **figures: float) -> dict[str, object]:
    """A case whose floor takes half as long, and the plain way ten times."""
    times = {"median_ms": median_ms, "min_ms": median_ms * 0.9, "max_ms": median_ms * 1.5, "n": 5}
    for side, times_as_long in (("floor", 0.5), ("plain", 10)):
        times |= {
            f"{side}_{each}ms": median_ms * times_as_long * spread
            for each, spread in (("", 1), ("min_", 0.9), ("max_", 1.5))
        }
    ratios = {"ratio_to_floor": 2.0, "speedup_over_plain": 10.0, "statements": 13, "round_trips": 13}
    return {"name": name, **times, **ratios, **figures}


def sample_suite(suite: str, *cases: Mapping[str, object]) -> dict[str, object]:
    """The JSON object of a suite at size M."""
    return {"suite": suite, "size": "M", "machine": MACHINE, "cases": cases}


def sample_suites() -> list[dict[str, object]]:
    """Suites that have every kind of plot, and one that no version of the benchmarks has had."""
    phases = {"read_ms": 10.0, "transform_ms": 4.0, "plan_ms": 20.0, "write_ms": 0.0}
    return [
        sample_suite("read", sample_case("full read", 87.0, pending=7_000, limit_ms=40.0)),
        sample_suite(
            "growth", *(sample_case(f"read, {each:,} pending", each / 80) for each in (1_000, 5_000, 50_000))
        ),
        sample_suite(
            "tick",
            sample_case("first tick", 900.0, placed=1_000, **phases),
            *(sample_case(f"steady, {each:,} changes", 34 + each / 10, **phases) for each in (0, 100, 1_000)),
        ),
        sample_suite(
            "stall", sample_case("full read", 90.0, **dict(zip(BLOCKS, (0.2, 0.9, 3, 3.2, 5), strict=True)))
        ),
        sample_suite(
            "memory", sample_case("full read", 95.0, bytes_per_session=1_000, plain_bytes_per_session=9_000)
        ),
        sample_suite(
            "strange",
            sample_case("a case of its own", 0.0),
            sample_case("A LONG NAME " * 8, 12_345.0),
            sample_case("3 changed of 20", 3.0),
            sample_case("3 changed of 1,000", 3.0, speedup_over_all=7.0),
        ),
    ]


def write_results(folder: Path, *suites: Mapping[str, object]) -> Path:
    """Write results as ``--keep`` does, all of the samples unless some are given."""
    folder.mkdir(exist_ok=True)
    for suite in suites or sample_suites():
        (folder / f"{suite['suite']}.json").write_text(json.dumps(suite), "utf-8")
    return folder
