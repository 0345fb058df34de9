"""The metrics of reads of a scaling group's state: how many rows and bytes they take from the database.

The driver shows no figure of bytes, and the sizes of what it has decoded would cost more than the read itself:
they are counted between a connection's transport and the driver.
"""

import asyncio
from collections.abc import Iterable
from typing import Final, Optional

from asyncpg import Connection, Record
from prometheus_client import Counter, Histogram

from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.quoting import get_logger, shortened
from scheduler_repo.types import ScalingGroupName

_logger = get_logger(__name__)

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


UNREADABLE_ROWS: Final = Counter(
    "scheduler_repo_unreadable_rows",
    "Rows that were left out of answers, each time, for a word that a newer version has stored",
)


def count_unreadable(rows: Iterable[UnreadableRow]) -> None:
    """Count, and write to the log, rows that were left out."""
    for row in rows:
        UNREADABLE_ROWS.inc()
        _logger.warning("%s %s was left out: %s", row.entity, shortened(row.entity_id), row.problem)


def observe_read(scaling_group: ScalingGroupName, rows: int, received: Optional[int]) -> None:
    """Count one read; ``received`` is in bytes, None where they could not be counted."""
    READ_ROWS.labels(scaling_group).observe(rows)
    if received is not None:
        READ_BYTES.labels(scaling_group).observe(received)


class _CountingProtocol(asyncio.Protocol):
    """Counts the bytes that come in, and passes everything on to the driver's own protocol."""

    def __init__(self, driver_protocol: asyncio.Protocol) -> None:
        self.received = 0
        self._pass_on = driver_protocol.data_received
        self._driver_protocol = driver_protocol

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self._pass_on(data)

    def eof_received(self) -> Optional[bool]:
        return self._driver_protocol.eof_received()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._driver_protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._driver_protocol.pause_writing()

    def resume_writing(self) -> None:
        self._driver_protocol.resume_writing()


def bytes_received(driver: "Connection[Record]") -> Optional[int]:
    """Return how many bytes a connection has received since the first call for it, which returns 0.

    None for a driver that does not show its transport. From then on each piece that the transport reads, of up
    to 256 KiB, costs one more function call.
    """
    transport: Optional[asyncio.Transport] = getattr(driver, "_transport", None)
    if transport is None:
        return None
    protocol = transport.get_protocol()
    if isinstance(protocol, _CountingProtocol):
        return protocol.received
    if not isinstance(protocol, asyncio.Protocol):
        return None
    transport.set_protocol(_CountingProtocol(protocol))
    return 0
