"""The repository of the sessions' life, on a migrated database, in the scheduler's role."""

import pytest

from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.lives import Lives


@pytest.fixture
def repository(lifecycle: LifecycleRepository) -> LifecycleRepository:
    return lifecycle


@pytest.fixture
def lives(
    load: Load,
    scheduler: SchedulerRepository,
    repository: LifecycleRepository,
    owner_connection: DriverConnection,
) -> Lives:
    return Lives(load, scheduler, repository, owner_connection)
