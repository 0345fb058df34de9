"""What the tests look at from outside: processes, ports, permissions, answers."""

import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from scheduler_repo.embedded import EmbeddedPostgres
from tests.support.waiting import PATIENCE

PROJECT_ROOT = Path(__file__).parents[2]


IS_ROOT = os.geteuid() == 0


needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can start processes of other accounts")


def processes_in(folder: Path) -> list[int]:
    """The processes that work in a folder, or have it in their command line; the watchers among them."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [process.cwd(), *process.cmdline()]
        except psutil.Error:
            continue
        if any(str(folder) in word for word in words):
            found.append(process.pid)
    return found


def listening_tcp_ports(pid: int) -> set[int]:
    return {
        connection.laddr.port
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes_below(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.lstat().st_mode, path.lstat().st_uid) for path in [folder, *folder.rglob("*")]}


def wait_until_gone(path: Path) -> bool:
    """Nothing announces the end of a directory whose owner died, so it is looked for."""
    deadline = time.monotonic() + PATIENCE
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not path.exists()


@contextmanager
def refused_port() -> Iterator[int]:
    """A port where nobody listens, nor can anybody meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def ask(server: EmbeddedPostgres, query: str) -> object:
    """The first column of the query's first row, asked through the socket."""
    connection = await asyncpg.connect(
        host=str(server.socket_directory), port=server.port, user="postgres", database="postgres"
    )
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
