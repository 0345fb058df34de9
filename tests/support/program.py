"""A Python program of the tests in a process of its own, which is told what to do line by line."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psutil

from tests.support.forked import Forked, fork_main
from tests.support.waiting import PATIENCE

_LONGEST_LINE: Final = 2**24


class Program:
    """A running program; it can be stopped, woken and killed."""

    def __init__(self, process: Forked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Made by ``running``."""
        self._process = process
        self._writer = writer
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._lines.put_nowait(line.decode().strip())
        except ConnectionResetError:
            pass  # it was killed before it had read what it was told
        self._lines.put_nowait("")

    def tell(self, *words: object) -> None:
        """Send it a line; it need not be awake."""
        self._writer.write((" ".join(map(str, words)) + "\n").encode())

    async def says(self) -> str:
        """Wait for its next line; an empty one if it has ended."""
        async with asyncio.timeout(PATIENCE):
            return await self._lines.get()

    async def ask(self, *words: object) -> str:
        """Send it a line and wait for what it says."""
        self.tell(*words)
        return await self.says()

    async def stop(self) -> None:
        """Stop it where it is, until ``wake``."""
        self._process.send_signal(signal.SIGSTOP)
        # Nothing announces it; it takes the system a moment.
        await asyncio.to_thread(self._wait_until_stopped)

    def _wait_until_stopped(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while psutil.Process(self._process.pid).status() != psutil.STATUS_STOPPED:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self._process.pid} has not stopped")
            time.sleep(0.005)

    def wake(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end, as an operator does."""
        self._process.send_signal(signal.SIGTERM)

    async def end(self) -> int:
        """Wait until it has ended by itself, and return its exit code."""
        await self._reader
        return await asyncio.to_thread(self._process.wait, PATIENCE)

    async def kill(self) -> None:
        """End it where it is."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait, PATIENCE)
        await self._reader
        self._writer.close()


@asynccontextmanager
async def running(module: str, *arguments: str) -> AsyncIterator[Program]:
    """The ``main`` of a module of the tests run as a program, killed at the end."""
    ours, its = socket.socketpair()
    with its:
        process = await asyncio.to_thread(fork_main, module, arguments, its)
    program = Program(process, *await asyncio.open_connection(sock=ours, limit=_LONGEST_LINE))
    try:
        yield program
    finally:
        await program.kill()
