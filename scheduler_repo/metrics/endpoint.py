"""Serves the metrics of this process over HTTP."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Final, NamedTuple, Optional

from prometheus_client import REGISTRY, make_wsgi_app

from scheduler_repo.errors import InvalidSettings

LOOPBACK: Final = "127.0.0.1"
MAX_PORT: Final = 65_535
# A scraper asks at once and reads at once; whoever takes longer for both together is cut off.
REQUEST_SECONDS: Final = 5.0
# A few scrapers and a person. Of more the one that has not asked yet for longest makes room.
MAX_CONNECTIONS: Final = 16
_MAX_REQUEST_BYTES: Final = 8_192
# Clients that the kernel holds meanwhile; they cost this process nothing.
_BACKLOG: Final = 128
_PAUSE_SECONDS: Final = 0.1
_LINE_END: Final = "\r\n"
_OK: Final = "200 OK"
_NOT_WELL: Final = "503 Service Unavailable"
_NOT_FOUND: Final = "404 Not Found"
_TEXT: Final = [("Content-Type", "text/plain; charset=utf-8")]
# Where a scraper and a person's browser look, and what a browser asks for beside.
_METRICS_PATHS: Final = ("/", "/metrics", "/favicon.ico")


class Health(NamedTuple):
    """The answer of a probe: whether all is well, which is status 200 and else 503, and a text of lines."""

    is_well: bool
    text: str


Probe = Callable[[], Health]


@contextmanager
def metrics_endpoint(
    port: int, host: str = LOOPBACK, *, probes: Optional[Mapping[str, Probe]] = None
) -> Iterator[str]:
    """Serve the metrics of this process over HTTP inside the block, and yield their URL.

    They are in the default registry of prometheus-client; the server has a thread of its own, in which it also
    calls the probe of a path such as "/healthz" when that is asked for. With probes, another path is status
    404. Port 0 takes one that is free. A client
    has 5 s for its request and its answer, and at most 16 are connected: idle ones make room. Raises
    InvalidSettings for a port or host that cannot be listened on.
    """
    if type(port) is not int or not 0 <= port <= MAX_PORT:
        raise InvalidSettings(f"metrics port {port!r:.40} is no port; give 0 to {MAX_PORT}")
    try:
        listening = _listen(port, host)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidSettings(
            f"metrics cannot be served on port {port} of {host!r:.80}: {reason}; give another port or host"
        ) from error
    loop, end = asyncio.SelectorEventLoop(), asyncio.Event()
    serving = _serve(listening, end, {} if probes is None else probes)
    thread = Thread(target=loop.run_until_complete, args=(serving,), name="metrics", daemon=True)
    try:
        thread.start()
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{listening.getsockname()[1]}/metrics"
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()


def _listen(port: int, host: str) -> socket.socket:
    """Listen on the first address that a host has; raises OSError, and ValueError for what is no host."""
    (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.setblocking(False)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


async def _serve(listening: socket.socket, end: asyncio.Event, probes: Mapping[str, Probe]) -> None:
    """Answer who connects until ``end``, then cut off who is still connected."""
    connections = _Connections(probes)
    accepting = asyncio.create_task(connections.accept(listening))
    await end.wait()
    accepting.cancel()
    await asyncio.wait([accepting])
    listening.close()
    await connections.close()


class _Connections:
    """The clients that are connected, in the order in which they came."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._answer = make_wsgi_app(REGISTRY)
        self._probes = probes
        self._asking: dict[asyncio.StreamWriter, None] = {}
        self._reading: dict[asyncio.StreamWriter, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, listening: socket.socket) -> None:
        """Accept clients for ever, one by one, each when there is a place for it."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listening)
            except OSError:
                # Somebody else has used up the process's descriptors, or the client is gone already.
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if len(self._asking) + len(self._reading) >= MAX_CONNECTIONS:
                self._drop_oldest()
            reader, writer = await asyncio.open_connection(sock=client, limit=_MAX_REQUEST_BYTES)
            self._asking[writer] = None
            task = asyncio.create_task(self._serve_client(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cut off all clients, and wait until they are."""
        for writer in (*self._asking, *self._reading):
            writer.transport.abort()
        while self._tasks:
            await asyncio.wait(self._tasks)
        # The loop closes the sockets of what was cut off last.
        await asyncio.sleep(0)

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close the connection; cut it off if that takes too long."""
        try:
            with suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
                async with asyncio.timeout(REQUEST_SECONDS):
                    answer = await self._answer_request(reader)
                    self._asking.pop(writer, None)
                    self._reading[writer] = None
                    writer.write(answer)
                    writer.close()
                    await writer.wait_closed()
        finally:
            self._asking.pop(writer, None)
            self._reading.pop(writer, None)
            writer.transport.abort()

    def _drop_oldest(self) -> None:
        connections = self._asking or self._reading
        oldest = next(iter(connections))
        del connections[oldest]
        oldest.transport.abort()

    async def _answer_request(self, reader: asyncio.StreamReader) -> bytes:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _build_answer("431 Request Header Fields Too Large", [], b"")
        first, *lines = request.decode("latin-1").split(_LINE_END)
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/"):
            return _build_answer("400 Bad Request", [], b"")
        path, _, query = words[1].partition("?")
        if path in self._probes:
            health = self._probes[path]()
            return _build_answer(_OK if health.is_well else _NOT_WELL, _TEXT, health.text.encode())
        if self._probes and path not in _METRICS_PATHS:
            # A probe whose path is mistyped must not look healthy.
            known = ", ".join(("/metrics", *self._probes))
            return _build_answer(_NOT_FOUND, _TEXT, f"there are {known}\n".encode())
        fields = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        environ = {
            "REQUEST_METHOD": words[0],
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "HTTP_ACCEPT": fields.get("accept"),
            "HTTP_ACCEPT_ENCODING": fields.get("accept-encoding"),
        }
        started: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(self._answer(environ, lambda status, headers: started.append((status, headers))))
        ((status, headers),) = started
        return _build_answer(status, headers, body)


def _build_answer(status: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    headers = [*headers, ("Content-Length", str(len(body))), ("Connection", "close")]
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return _LINE_END.join(lines).encode("latin-1") + body
