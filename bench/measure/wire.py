"""Statements and round trips, counted where they pass: on the connection itself, by a proxy that changes
nothing.

Connections that are timed do not go this way.
"""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import sqlalchemy as sa

from scheduler_repo.settings import DatabaseSettings, SecretUrl

_DEFAULT_PORT: Final = 5432
_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
# A simple query, and the Bind of a prepared one.
_STATEMENTS: Final = frozenset(b"QB")
# The client waits for an answer after Query, Sync, Flush and the end of its COPY.
_TRIPS: Final = frozenset(b"QSHc")


class WireCounts(msgspec.Struct, frozen=True):
    """The traffic of one call; BEGIN and COMMIT are statements too."""

    statements: int
    round_trips: int
    bytes_received: int

    def since(self, before: "WireCounts") -> "WireCounts":
        """Return what came after ``before``."""
        return WireCounts(
            self.statements - before.statements,
            self.round_trips - before.round_trips,
            self.bytes_received - before.bytes_received,
        )


class CountedWire:
    """Listens on a Unix socket and passes everything on to one PostgreSQL server."""

    def __init__(self, target: sa.URL, folder: Path) -> None:
        """Listen in ``folder`` and pass on to ``target``; see ``counted_wire``."""
        self._target = target
        self._folder = folder
        self._statements = self._round_trips = self._bytes = 0
        self.links: set[asyncio.Task[None]] = set()

    @property
    def counts(self) -> WireCounts:
        """Return what has passed so far."""
        return WireCounts(self._statements, self._round_trips, self._bytes)

    def url_for(self, url: SecretUrl) -> SecretUrl:
        """Return the URL of the same database and role, by way of this."""
        read = DatabaseSettings(url=url).sqlalchemy_url()
        query = {"host": str(self._folder), "port": str(_DEFAULT_PORT)}
        return SecretUrl(read.set(host=None, port=None, query=query).render_as_string(hide_password=False))

    def accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Pass bytes both ways until either end is gone, in a task of its own."""
        # A coroutine would be asyncio's to look after, which takes the cancel of one for an error.
        link = asyncio.create_task(self._link(from_client, to_client))
        self.links.add(link)
        link.add_done_callback(self.links.discard)

    async def _link(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await self._connect()
        except OSError:
            to_client.transport.abort()
            return
        answers = asyncio.create_task(self._pass_answers(from_server, to_client))
        try:
            await self._pass_requests(from_client, to_client, to_server)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            answers.cancel()
            await asyncio.wait([answers])
            to_server.transport.abort()
            to_client.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        query = self._target.query
        host = str(self._target.host or query.get("host") or "localhost")
        port = int(str(self._target.port or query.get("port") or _DEFAULT_PORT))
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        from_server, to_server = await asyncio.open_connection(host, port)
        mode = str(query.get("ssl", "prefer"))
        if mode != "disable":
            to_server.write((8).to_bytes(4) + _SSL_REQUEST.to_bytes(4))
            if await from_server.readexactly(1) == b"S":
                await to_server.start_tls(_tls_context(mode), server_hostname=host)
        return from_server, to_server

    async def _pass_requests(
        self,
        from_client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        to_server: asyncio.StreamWriter,
    ) -> None:
        while True:
            head = await from_client.readexactly(8)
            code = int.from_bytes(head[4:])
            packet = head + await from_client.readexactly(int.from_bytes(head[:4]) - 8)
            if code in (_SSL_REQUEST, _GSS_REQUEST):
                to_client.write(b"N")
                continue
            to_server.write(packet)
            if code == _CANCEL_REQUEST:
                await from_client.read()
                return
            break
        while True:
            head = await from_client.readexactly(5)
            self._statements += head[0] in _STATEMENTS
            self._round_trips += head[0] in _TRIPS
            to_server.write(head + await from_client.readexactly(int.from_bytes(head[1:]) - 4))
            await to_server.drain()

    async def _pass_answers(self, from_server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            while data := await from_server.read(65536):
                self._bytes += len(data)
                to_client.write(data)
                await to_client.drain()
        except ConnectionError:
            pass
        to_client.transport.abort()


def _tls_context(mode: str) -> ssl.SSLContext:
    """Trust the server as far as the URL says; the timed connections verify it in any case."""
    context = ssl.create_default_context()
    context.check_hostname = mode == "verify-full"
    if not mode.startswith("verify"):
        context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def counted_wire(url: SecretUrl) -> AsyncIterator[CountedWire]:
    """Listen before the server of ``url``; at the end all connections by this way are gone."""
    with tempfile.TemporaryDirectory(prefix="scheduler-repo-wire-") as folder:
        wire = CountedWire(DatabaseSettings(url=url).sqlalchemy_url(), Path(folder))
        listener = await asyncio.start_unix_server(wire.accept, Path(folder) / f".s.PGSQL.{_DEFAULT_PORT}")
        try:
            yield wire
        finally:
            listener.close()
            links = tuple(wire.links)
            for link in links:
                link.cancel()
            if links:
                await asyncio.wait(links)
