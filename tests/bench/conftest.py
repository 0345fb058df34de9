"""The benchmarks at a tiny size, on the server that all tests share."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from bench.cli.command_group import command_line
from bench.data.place import Place
from bench.data.servers import BenchServer
from bench.data.sizes import SizeName
from bench.measure import memory, turns
from bench.suites.suite import Bench
from scheduler_repo.settings import SecretUrl
from scheduler_repo.testing.prepared_databases import PreparingServer
from tests.support.command import Command, CommandHere, ForkedCommand
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.shared_folder import shared_folder


class CopyingServer:
    """Makes a copy of the migrated database for each place."""

    description = "the tests' server"

    def __init__(self, server: PreparingServer, template: Database) -> None:
        self._server = server
        self._template = template
        self._copies: dict[SecretUrl, Database] = {}

    async def make_place(self) -> Place:
        copy = await self._server.take_copy(self._template)
        url, admin_url = (SecretUrl(copy.url_as(role)) for role in (SCHEDULER, ADMIN))
        # A checkpoint would be one of all databases of the tests.
        place = Place(url, admin_url, may_checkpoint=False)
        self._copies[place.url] = copy
        return place

    async def remove_place(self, place: Place) -> None:
        await self._server.give_back(self._copies.pop(place.url))


@pytest.fixture(autouse=True)
def _collections_are_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn is measured after a collection, which in a process that holds all tests takes much longer."""
    nothing = SimpleNamespace(collect=lambda: 0, freeze=lambda: None, unfreeze=lambda: None)
    for module in (memory, turns):
        monkeypatch.setattr(module, "gc", nothing)


@pytest.fixture
def server(postgres_server: PreparingServer, migrated_template: Database) -> BenchServer:
    """Makes places that cost little."""
    return CopyingServer(postgres_server, migrated_template)


@pytest.fixture
def bench(server: BenchServer) -> Bench:
    """What a suite runs with at the smallest size."""
    return Bench(server=server, size_name=SizeName.XS, on_loading=_unseen)


@asynccontextmanager
async def _unseen(what: str, total: int) -> AsyncIterator[Callable[[int], None]]:
    yield lambda done: None


@pytest.fixture
def command() -> Iterator[Command]:
    """The real command, with a folder that every account can enter for its servers."""
    with shared_folder("bench-") as folder:
        yield Command(folder, "bench")


@pytest.fixture
def forked_command() -> Iterator[Command]:
    """The same in a process that has loaded most of it, where how it is loaded does not matter."""
    with shared_folder("bench-") as folder:
        yield ForkedCommand(folder, "bench")


@pytest.fixture
def command_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandHere:
    """The same command in this process, where neither a start of its own nor its end matters."""
    return CommandHere(monkeypatch, capsys, command_line, "python -m bench")
