"""How many bytes a connection has received, counted between its transport and the driver.

The driver shows no such figure, and the sizes of what it has decoded would cost more than the read itself.
"""

import asyncio
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from asyncpg import Connection, Record


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
