"""One server, one event loop and the cases of all suites, for ``pytest bench``."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import uvloop

from bench.data.servers import open_server
from bench.data.sizes import SizeName
from bench.suites.reach import SuiteWalk
from bench.suites.suite import Bench

BENCH: Final = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the size of the cluster that is measured."""
    sizes = [size.value for size in SizeName]
    parser.addoption(
        "--size", choices=sizes, default=SizeName.S.value, help="the size of the benchmarks' cluster"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let large clusters take the time they take."""
    for item in items:
        if item.path.parent == BENCH:
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """The event loop that all benchmarks share."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="session")
def walk(runner: asyncio.Runner, pytestconfig: pytest.Config) -> Iterator[SuiteWalk]:
    """The cases of all suites, on one embedded server."""
    stack = AsyncExitStack()
    server = runner.run(stack.enter_async_context(open_server(None)))
    size_name = SizeName(pytestconfig.getoption("--size"))
    walk = SuiteWalk(Bench(server=server, size_name=size_name, on_loading=_unseen))
    yield walk
    runner.run(walk.close())
    runner.run(stack.aclose())


@asynccontextmanager
async def _unseen(what: str, total: int) -> AsyncIterator[Callable[[int], None]]:
    yield lambda done: None
