"""The metrics of reads of a scaling group's state: how much they take from the database."""

from typing import Final, Optional

from prometheus_client import Histogram

from scheduler_repo.types import ScalingGroupName

READ_ROWS: Final = Histogram(
    "scheduler_repo_read_rows",
    "Rows that one read of a group's state fetched, all its statements together",
    ["scaling_group"],
    buckets=(30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000),
)
READ_BYTES: Final = Histogram(
    "scheduler_repo_read_bytes",
    "Bytes that one read of a group's state received from the server as answers to its statements, the "
    "protocol's own included, encryption's not; without the answers to BEGIN and COMMIT",
    ["scaling_group"],
    buckets=(4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864, 268_435_456),
)


def observe_read(scaling_group: ScalingGroupName, rows: int, received: Optional[int]) -> None:
    """Count one read; ``received`` is in bytes, None where they could not be counted."""
    READ_ROWS.labels(scaling_group).observe(rows)
    if received is not None:
        READ_BYTES.labels(scaling_group).observe(received)
