"""A proxy before Redis or Valkey that goes silent, cuts answers short, or delivers what it got too late."""

import asyncio
import enum
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from redis.asyncio.connection import parse_url

_SOCKET: Final = "redis.sock"


_CUT_AFTER: Final = 40


class Mode(enum.Enum):
    """What happens to what a client sends from now on."""

    FORWARD = "forward"
    SWALLOW = "swallow"  # taken, never answered
    CUT = "cut"  # answered, but for all after the first bytes
    # A SET or a script, and all after it, waits for ``deliver``, whoever still listens.
    HOLD_SET = "hold set"
    HOLD_SCRIPT = "hold script"


_HELD: Final = {Mode.HOLD_SET: b"\r\nSET\r\n", Mode.HOLD_SCRIPT: b"\r\nEVAL\r\n"}


class RedisProxy:
    """Listens on a Unix socket and passes everything on to the server, as its mode allows."""

    def __init__(self, target: str) -> None:
        """Take the server's URL; see ``redis_proxied``."""
        self.mode = Mode.FORWARD
        self.deliver = asyncio.Event()
        self.held = asyncio.Event()
        self.swallowed = asyncio.Event()
        self._target = parse_url(target)
        self._folder = tempfile.TemporaryDirectory(prefix="redis-proxy-")
        self._links: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"unix://{self._folder.name}/{_SOCKET}?db={self._target.get('db', 0)}"

    async def open(self) -> asyncio.Server:
        """Start to listen."""
        return await asyncio.start_unix_server(self._accept, Path(self._folder.name) / _SOCKET)

    async def close(self) -> None:
        """Drop every connection."""
        self.mode = Mode.FORWARD
        self.deliver.set()
        for to_client in self._links.values():
            to_client.transport.abort()
        if self._links:
            await asyncio.wait(self._links)
        self._folder.cleanup()

    async def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._links[task] = to_client
            task.add_done_callback(self._links.pop)
        try:
            from_server, to_server = await self._connect()
        except OSError:
            to_client.transport.abort()
            return
        answers = asyncio.create_task(self._pass_answers(from_server, to_client))
        try:
            while data := await from_client.read(65536):
                if self.mode is Mode.SWALLOW:
                    self.swallowed.set()
                    continue
                if self.mode in _HELD and _HELD[self.mode] in data:
                    self.held.set()
                    await self.deliver.wait()
                to_server.write(data)
        except ConnectionError:
            pass
        finally:
            to_server.close()
            # The server closes when it has done all that it was sent.
            await asyncio.wait([answers])
            to_client.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if "path" in self._target:
            return await asyncio.open_unix_connection(self._target["path"])
        return await asyncio.open_connection(self._target["host"], self._target.get("port", 6379))

    async def _pass_answers(self, from_server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            while data := await from_server.read(65536):
                if self.mode is Mode.CUT and len(data) > _CUT_AFTER:
                    to_client.write(data[:_CUT_AFTER])
                    to_client.close()
                    return
                to_client.write(data)
        except ConnectionError:
            pass
        to_client.transport.abort()


@asynccontextmanager
async def redis_proxied(target: str) -> AsyncIterator[RedisProxy]:
    """A proxy before the server of a URL, closed at the end with all its connections."""
    proxy = RedisProxy(target)
    listener = await proxy.open()
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.close()
