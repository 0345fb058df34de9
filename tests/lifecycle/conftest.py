"""The repository of the sessions' life, on a migrated database, in the scheduler's role."""

import pytest

from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from tests.scheduler.conftest import Load, db_source, engine, lifecycle, load, owner_connection
from tests.support.databases import DriverConnection
from tests.support.lives import Lives

__all__ = ["db_source", "engine", "lifecycle", "lives", "load", "owner_connection", "repository"]


@pytest.fixture
def repository(lifecycle: LifecycleDBSource) -> LifecycleRepository:
    return LifecycleRepository(lifecycle)


@pytest.fixture
def lives(
    load: Load,
    db_source: SchedulerDBSource,
    repository: LifecycleRepository,
    owner_connection: DriverConnection,
) -> Lives:
    return Lives(load, db_source, repository, owner_connection)
