"""The repository of agents, on a migrated database, in the scheduler's role."""

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from tests.agents.fleet import Fleet
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load


@pytest.fixture
def agents(engine: ExtendedAsyncSAEngine) -> AgentRepository:
    return AgentRepository(AgentDBSource(engine))


@pytest.fixture
def repository(lifecycle: LifecycleRepository) -> LifecycleRepository:
    return lifecycle


@pytest.fixture
def fleet(
    load: Load,
    scheduler: SchedulerRepository,
    owner_connection: DriverConnection,
) -> Fleet:
    return Fleet(load, scheduler, owner_connection)
