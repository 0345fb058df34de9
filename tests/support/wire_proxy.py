"""A proxy between the engine and PostgreSQL that holds, or drops, a connection at a chosen message.

It reads just enough of the frontend protocol for that: the startup packet, then messages of one type byte and a
length; of simple queries and Parse the text, of Bind the statement's name.
"""

import asyncio
import enum
import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Optional, TypeVar

import sqlalchemy as sa

from tests.support.waiting import PATIENCE

_CANCEL_REQUEST: Final = 80877102


_ENCRYPTION_REQUESTS: Final = (80877103, 80877104)


_DEFAULT_PORT: Final = 5432


MARK: Final = "/* watched */"


ResultT = TypeVar("ResultT")


class Point(enum.Enum):
    """Where in a call; PREPARE and FETCH are those of a statement whose text has the hold's mark in it."""

    CONNECT = "connect"
    BEGIN = "begin"
    PREPARE = "prepare"
    FETCH = "fetch"
    COMMIT = "commit"
    ROLLBACK = "rollback"


_OF_A_STATEMENT: Final = (Point.PREPARE, Point.FETCH)


class Side(enum.Enum):
    """What is held: the message itself, or the server's answer to it."""

    REQUEST = "request"
    ANSWER = "answer"


class Hold:
    """One place where the next connection that comes by is stopped, until it is released or dropped."""

    def __init__(self, point: Point, side: Side, mark: str) -> None:
        """Made by ``WireProxy.hold``."""
        self.point = point
        self.side = side
        self._mark = mark.encode()
        self._to_client: Optional[asyncio.StreamWriter] = None
        self._reached = asyncio.Event()
        self._decided = asyncio.Event()
        self._dropped = False

    @property
    def is_decided(self) -> bool:
        """Whether it was released or dropped."""
        return self._decided.is_set()

    def fits(self, points: set[Point], text: bytes) -> bool:
        """Whether a message at these points, of a statement with this text, is to be stopped here."""
        return self.point in points and (self.point not in _OF_A_STATEMENT or self._mark in text)

    async def reached(self, call: "asyncio.Task[ResultT]") -> None:
        """Wait until a connection is stopped here, or the call ends; raises TimeoutError if neither comes."""
        call.add_done_callback(lambda _: self._reached.set())
        async with asyncio.timeout(PATIENCE):
            await self._reached.wait()

    def release(self) -> None:
        """Let the held bytes pass, even if their receiver is gone by now."""
        self._decided.set()

    def drop(self) -> None:
        """Reset both ends of the connection; the held bytes are lost."""
        self._dropped = True
        self._decided.set()

    def cut_client(self) -> None:
        """Reset the client's end alone: the server's stays open, and still gets what is released."""
        if self._to_client is not None:
            self._to_client.transport.abort()

    async def stop(self, to_client: asyncio.StreamWriter) -> bool:
        """Stop the connection here; return whether it lives on."""
        self._to_client = to_client
        self._reached.set()
        await self._decided.wait()
        return not self._dropped


class WireProxy:
    """Listens on a Unix socket and passes everything on to one PostgreSQL server, holds aside."""

    def __init__(self, url: str) -> None:
        """Take the URL of the server; see ``proxied``."""
        self._target = sa.make_url(url)
        self._folder = tempfile.TemporaryDirectory(prefix="wire-proxy-")
        self._listener: Optional[asyncio.Server] = None
        self._holds: list[Hold] = []
        self._links: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._made: list[Hold] = []
        self.refuses = False  # whether new connections are reset at once
        self.connections = 0
        self.statements = 0
        self.transactions = 0
        self.cancel_requests = 0

    @property
    def url(self) -> str:
        """The server's URL, by way of the proxy."""
        query = {"host": self._folder.name, "port": str(_DEFAULT_PORT)}
        url = self._target.set(host=None, port=None, query=query)
        return url.render_as_string(hide_password=False)

    def lead_to(self, url: str) -> None:
        """Lead new connections to another server; those that are open stay where they are."""
        self._target = sa.make_url(url)

    def hold(self, point: Point, side: Side, mark: str = MARK) -> Hold:
        """Stop the next connection that comes to this point, once."""
        hold = Hold(point, side, mark)
        self._holds.append(hold)
        self._made.append(hold)
        return hold

    def take_hold(self, points: set[Point], text: bytes, *sides: Side) -> Optional[Hold]:
        """Return the hold that one of the points runs into, on one of the sides, which is then used up."""
        for hold in self._holds:
            if hold.fits(points, text) and hold.side in sides and not hold.is_decided:
                self._holds.remove(hold)
                return hold
        return None

    async def open(self) -> None:
        """Start to listen."""
        path = Path(self._folder.name) / f".s.PGSQL.{_DEFAULT_PORT}"
        self._listener = await asyncio.start_unix_server(self._accept, path)

    async def close(self) -> None:
        """Drop every connection and stop to listen."""
        if self._listener is not None:
            self._listener.close()
        for hold in self._made:
            hold.drop()
        for to_client in self._links.values():
            to_client.transport.abort()
        if self._links:
            await asyncio.wait(self._links)
        self._folder.cleanup()

    async def connect_server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to the server itself."""
        query = self._target.query
        host = self._target.host or query.get("host", "localhost")
        port = self._target.port or query.get("port", _DEFAULT_PORT)
        if str(host).startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(str(host), int(str(port)))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._links[task] = writer
            task.add_done_callback(self._links.pop)
        await _Link(self, reader, writer).run()


class _Link:
    """One connection and its other half."""

    def __init__(
        self, proxy: WireProxy, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._from_client = from_client
        self._to_client = to_client
        self._statements: dict[bytes, bytes] = {}
        self._answer_hold: Optional[Hold] = None

    async def run(self) -> None:
        """Pass bytes both ways until either end is gone or a hold drops them."""
        if self._proxy.refuses:
            self._to_client.transport.abort()
            return
        try:
            from_server, to_server = await self._proxy.connect_server()
        except OSError:
            self._to_client.transport.abort()
            return
        answers = asyncio.create_task(self._pass_answers(from_server))
        try:
            await self._pass_requests(to_server)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            answers.cancel()
            await asyncio.wait([answers])
            # Reset, not closed in good order: a dropped connection says no goodbye.
            to_server.transport.abort()
            self._to_client.transport.abort()

    async def _pass_requests(self, to_server: asyncio.StreamWriter) -> None:
        while True:
            head = await self._from_client.readexactly(8)
            length, code = struct.unpack("!II", head)
            packet = head + await self._from_client.readexactly(length - 8)
            if code == _CANCEL_REQUEST:
                self._proxy.cancel_requests += 1
                to_server.write(packet)
                # The server closes when it has taken it; so does the client.
                await self._from_client.read()
                return
            if code in _ENCRYPTION_REQUESTS:
                self._to_client.write(b"N")
                continue
            self._proxy.connections += 1
            if not await self._forward(to_server, packet, {Point.CONNECT}, b""):
                return
            break
        while True:
            head = await self._from_client.readexactly(5)
            body = await self._from_client.readexactly(int.from_bytes(head[1:]) - 4)
            if not await self._forward(to_server, head + body, *self._points(head[:1], body)):
                return

    async def _forward(
        self, to_server: asyncio.StreamWriter, packet: bytes, points: set[Point], text: bytes
    ) -> bool:
        hold = self._proxy.take_hold(points, text, *Side)
        if hold is not None and hold.side is Side.REQUEST:
            if not await hold.stop(self._to_client):
                return False
            hold = self._proxy.take_hold(points, text, Side.ANSWER)
        if hold is not None:
            self._answer_hold = hold
        to_server.write(packet)
        await to_server.drain()
        return True

    async def _pass_answers(self, from_server: asyncio.StreamReader) -> None:
        try:
            while data := await from_server.read(65536):
                hold, self._answer_hold = self._answer_hold, None
                if hold is not None and not await hold.stop(self._to_client):
                    break
                self._to_client.write(data)
                await self._to_client.drain()
        except ConnectionError:
            pass
        self._to_client.transport.abort()

    def _points(self, kind: bytes, body: bytes) -> tuple[set[Point], bytes]:
        """Where a message stands in a call, and the text of its statement."""
        self._proxy.statements += kind in (b"Q", b"B")
        if kind == b"Q":
            # Not the BEGIN by which SQLAlchemy looks at a server that it sees for the first time.
            if body.startswith(b"BEGIN ISOLATION"):
                self._proxy.transactions += 1
                return {Point.BEGIN}, body
            if body.startswith(b"COMMIT"):
                return {Point.COMMIT}, body
            if body == b"ROLLBACK\0":
                return {Point.ROLLBACK}, body
        elif kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._statements[name] = text
            return {Point.PREPARE}, text
        elif kind == b"B":
            _, name, _ = body.split(b"\0", 2)
            # A statement that is known already is not prepared again.
            return {Point.PREPARE, Point.FETCH}, self._statements.get(name, b"")
        return set(), b""


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[WireProxy]:
    """A proxy before the server of ``url``, closed at the end with all its connections."""
    proxy = WireProxy(url)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
