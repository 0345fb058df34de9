"""A small cluster with something of everything in it, and what audits it."""

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from tests.audit.mixed_cluster import fill_mixed
from tests.scheduler.conftest import Load, db_source, engine, lifecycle, load, owner_connection
from tests.support.databases import DriverConnection

__all__ = ["audit_source", "db_source", "engine", "lifecycle", "load", "mixed_cluster", "owner_connection"]


@pytest.fixture
def audit_source(engine: ExtendedAsyncSAEngine) -> AuditDBSource:
    return AuditDBSource(engine)


@pytest.fixture
async def mixed_cluster(
    load: Load,
    db_source: SchedulerDBSource,
    lifecycle: LifecycleDBSource,
    owner_connection: DriverConnection,
) -> None:
    """The cluster of ``fill_mixed``."""
    await fill_mixed(load, db_source, lifecycle, owner_connection)
