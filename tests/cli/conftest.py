"""The command line under test, and a database in which it finds something."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest

from scheduler_repo.database.engine import create_engine
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.testing.prepared_databases import PreparingServer
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.workload.synthetic import synthetic_cluster
from tests.support.command import Command, CommandHere, ForkedCommand
from tests.support.databases import SCHEDULER, Database
from tests.support.shared_folder import shared_folder

_GROUP: Final = ScalingGroupName("batch")


@pytest.fixture
def loaded_command() -> Iterator[Command]:
    """The real command from its first line on, with a folder that every account can enter for its servers."""
    with shared_folder("cli-") as folder:
        yield Command(folder)


@pytest.fixture
def command() -> Iterator[Command]:
    """The real command in a process of its own that has loaded it, with such a folder."""
    with shared_folder("cli-") as folder:
        yield ForkedCommand(folder)


@pytest.fixture
def command_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandHere:
    """The same command in this process, where neither a start of its own nor its end matters."""
    return CommandHere(monkeypatch, capsys)


@pytest.fixture(scope="session")
def placed_template(postgres_server: PreparingServer, migrated_template: Database) -> Iterator[Database]:
    """A database to copy; nobody connects to it, else it could not be copied."""

    async def make() -> Database:
        database = await postgres_server.create_database(migrated_template)
        engine = create_engine(DatabaseSettings(url=SecretUrl(database.url_as(SCHEDULER))))
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(synthetic_cluster(10, 120, 1, _GROUP))
        repository = SchedulerRepository(SchedulerDBSource(engine))
        await SchedulerLoop(repository, BestFitPlanner(), _GROUP).run_until_settled()
        await engine.dispose()
        return database

    database = asyncio.run(make())
    yield database
    asyncio.run(postgres_server.drop_database(database))


@pytest.fixture
async def placed_database(
    postgres_server: PreparingServer, placed_template: Database
) -> AsyncIterator[Database]:
    """A database with ten agents and the group batch, where some sessions are placed and others wait."""
    database = await postgres_server.take_copy(placed_template)
    yield database
    await postgres_server.give_back(database)
