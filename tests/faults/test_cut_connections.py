"""Connections that are cut off while they are made leave nothing behind that asyncio would print."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from scheduler_repo.database.engine import create_engine
from scheduler_repo.settings import DatabaseSettings, SecretUrl

# More turns of the event loop than connecting takes.
TURNS = 40


@pytest.fixture
async def printed() -> AsyncIterator[list[str]]:
    """What asyncio would print of exceptions that nobody has read."""
    found: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: found.append(f"{context['message']}: {context}"))
    yield found
    loop.set_exception_handler(None)


class TestConnecting:
    async def test_cut_off_at_any_turn(self, printed: list[str]) -> None:
        """A server that accepts, and says nothing more."""

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        listener = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        engine = create_engine(
            DatabaseSettings(url=SecretUrl(f"postgresql://ada@127.0.0.1:{port}/nothing"), pool_size=1)
        )
        for turns in range(TURNS):
            call = asyncio.ensure_future(engine.connect().start())
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call
        await engine.dispose()
        await asyncio.sleep(0)
        gc.collect()
        listener.close()
        assert printed == []
