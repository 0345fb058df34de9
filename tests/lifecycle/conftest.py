"""The repository of the sessions' life, on a migrated database, in the scheduler's role."""

import pytest

from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from tests.scheduler.conftest import Load, db_source, engine, lifecycle, load, owner_connection, scheduler
from tests.support.databases import DriverConnection
from tests.support.lives import Lives

__all__ = [
    "db_source",
    "engine",
    "lifecycle",
    "lives",
    "load",
    "owner_connection",
    "repository",
    "scheduler",
]


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
