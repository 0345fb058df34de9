"""A small cluster with something of everything in it, and what audits it."""

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from tests.audit.mixed_cluster import fill_mixed
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load


@pytest.fixture
def audit_source(engine: ExtendedAsyncSAEngine) -> AuditRepository:
    return AuditRepository(AuditDBSource(engine))


@pytest.fixture
async def mixed_cluster(
    load: Load,
    scheduler: SchedulerRepository,
    lifecycle: LifecycleRepository,
    owner_connection: DriverConnection,
) -> None:
    """The cluster of ``fill_mixed``."""
    await fill_mixed(load, scheduler, lifecycle, owner_connection)
