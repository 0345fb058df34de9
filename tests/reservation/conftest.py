"""The repository of reservations on a migrated database, in the scheduler's role."""

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.reservation.db_source import ReservationDBSource
from scheduler_repo.repositories.reservation.repository import ReservationRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from tests.reservation.contest import Contest
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load


@pytest.fixture
def reservations(engine: ExtendedAsyncSAEngine) -> ReservationRepository:
    return ReservationRepository(ReservationDBSource(engine))


@pytest.fixture
def contest(
    load: Load,
    scheduler: SchedulerRepository,
    lifecycle: LifecycleRepository,
    reservations: ReservationRepository,
    owner_connection: DriverConnection,
) -> Contest:
    return Contest(load, scheduler, lifecycle, reservations, owner_connection)
