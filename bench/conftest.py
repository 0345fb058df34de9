"""A private PostgreSQL server and an event loop for the benchmarks."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from bench.databases import BenchDatabase, add_sessions, make_database
from scheduler_repo.embedded import EmbeddedPostgres


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """The event loop that all benchmarks share."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPostgres]:
    """PostgreSQL with its own defaults but for durability, which reads do not need."""
    settings = {"fsync": "off", "max_wal_size": "8GB", "autovacuum": "off"}
    with EmbeddedPostgres(settings=settings) as server:
        yield server


@pytest.fixture(scope="session")
def full_queue(runner: asyncio.Runner, server: EmbeddedPostgres) -> BenchDatabase:
    """10,000 pending sessions with 16,000 kernels, 1,000 agents, 5,000 running, 100,000 finished."""
    return runner.run(_fill(server, 10_000, 16_000))


@pytest.fixture(scope="session")
def long_queue(runner: asyncio.Runner, server: EmbeddedPostgres) -> BenchDatabase:
    """The same with 50,000 pending sessions and 80,000 kernels."""
    return runner.run(_fill(server, 50_000, 80_000))


async def _fill(server: EmbeddedPostgres, sessions: int, kernels: int) -> BenchDatabase:
    database = await make_database(server, sessions, kernels)
    await add_sessions(server, database, 5_000, "RUNNING")
    await add_sessions(server, database, 100_000, "TERMINATED")
    return database
