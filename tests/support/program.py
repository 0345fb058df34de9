"""A Python program of the tests in a process of its own, which is told what to do line by line."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import psutil

_ROOT: Final = Path(__file__).parents[2]


_WAIT_SECONDS: Final = 30.0


class Program:
    """A running program; it can be stopped, woken and killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Made by ``running``."""
        self._process = process
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self._lines.put_nowait(line.decode().strip())
        self._lines.put_nowait("")

    def tell(self, *words: object) -> None:
        """Send it a line; it need not be awake."""
        assert self._process.stdin is not None
        self._process.stdin.write((" ".join(map(str, words)) + "\n").encode())

    async def says(self) -> str:
        """Wait for its next line; an empty one if it has ended."""
        async with asyncio.timeout(_WAIT_SECONDS):
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
        deadline = time.monotonic() + _WAIT_SECONDS
        while psutil.Process(self._process.pid).status() != psutil.STATUS_STOPPED:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self._process.pid} has not stopped")
            time.sleep(0.005)

    def wake(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it where it is."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reader


@asynccontextmanager
async def running(module: str, *arguments: str) -> AsyncIterator[Program]:
    """A module of the tests run as a program, killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    program = Program(process)
    try:
        yield program
    finally:
        await program.kill()
