"""A keeper that has led waits for its lease while the database cannot give it, and for nothing else."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Optional

import pytest

from scheduler_repo import errors
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.lease import Lease
from scheduler_repo.leadership import LeaseKeeper
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import LeaseHolder, ScalingGroupName
from tests.lease.holders import ADA
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.small_cluster import GROUP
from tests.support.waiting import PATIENCE

_TTL = timedelta(seconds=1.5)


def _every(kind: type[errors.SchedulerRepoError]) -> set[type[errors.SchedulerRepoError]]:
    return {kind, *(each for child in kind.__subclasses__() for each in _every(child))}


# All that an operator, the server or another holder ends in a while.
PASSING = {
    each
    for kind in (
        errors.LeaseHeld,
        errors.DatabaseUnavailable,
        errors.DatabaseTimeout,
        errors.DatabaseReadOnly,
        errors.DatabaseExhausted,
        errors.TransactionConflict,
    )
    for each in _every(kind)
}
LASTING = _every(errors.SchedulerRepoError) - PASSING


class _Failing(LeaseRepository):
    """A repository that fails once in a chosen way, and then gives the lease."""

    failure: Optional[errors.SchedulerRepoError] = None
    epoch = 0

    async def acquire_lease(
        self, scaling_group: ScalingGroupName, holder: LeaseHolder, ttl: timedelta
    ) -> Lease:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        self.epoch += 1
        now = datetime.now(UTC)
        return Lease(scaling_group, holder, self.epoch, now, now + ttl)


class TestReacquire:
    @pytest.fixture
    def repository(self, engine: ExtendedAsyncSAEngine) -> _Failing:
        return _Failing(LeaseDBSource(engine))

    @pytest.fixture
    async def keeper(self, repository: _Failing) -> LeaseKeeper:
        keeper = LeaseKeeper(repository, GROUP, ADA, timedelta(milliseconds=3))
        await keeper.reacquire()
        return keeper

    async def test_waits_for_what_passes(self, repository: _Failing, keeper: LeaseKeeper) -> None:
        for number, kind in enumerate(PASSING, start=2):
            repository.failure = kind("not now")
            assert (await keeper.reacquire()).epoch == number, kind

    async def test_does_not_wait_for_what_lasts(self, repository: _Failing, keeper: LeaseKeeper) -> None:
        for kind in LASTING:
            repository.failure = kind("never")
            with pytest.raises(kind, match="never"):
                await keeper.reacquire()

    async def test_first_time_says_what_is_wrong(self, repository: _Failing) -> None:
        """A wrong address is not waited for."""
        for kind in PASSING - _every(errors.DatabaseTimeout) - _every(errors.LeaseHeld):
            repository.failure = kind("wrong")
            with pytest.raises(kind, match="wrong"):
                await LeaseKeeper(repository, GROUP, ADA, _TTL).reacquire()


class _Noting(logging.Handler):
    """Keeps what is logged, and tells when there is something."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.noted = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage()
        self.noted.set()


@pytest.fixture
def log() -> Iterator[_Noting]:
    """What the keepers log."""
    handler = _Noting()
    logger = logging.getLogger("scheduler_repo.leadership")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


class TestReadOnlyServer:
    @pytest.fixture
    async def leases(self, database: Database) -> AsyncIterator[LeaseRepository]:
        """Those of an engine that allows leases as short as this one."""
        settings = DatabaseSettings(url=SecretUrl(database.url_as(SCHEDULER)), idle_in_transaction_timeout=1.0)
        engine = create_engine(settings)
        yield LeaseRepository(LeaseDBSource(engine))
        await engine.dispose()

    async def test_is_waited_for(self, leases: LeaseRepository, database: Database, log: _Noting) -> None:
        setting = f"ALTER DATABASE {database.name} SET default_transaction_read_only"
        end_connections = (
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            f"WHERE usename = '{SCHEDULER}' AND datname = current_database()"
        )
        async with LeaseKeeper(leases, GROUP, ADA, _TTL) as keeper:
            first = keeper.lease
            # given
            await database.run_as(ADMIN, f"{setting} = on; {end_connections}")
            # when
            call = asyncio.create_task(keeper.reacquire())
            async with asyncio.timeout(PATIENCE):
                await log.noted.wait()
            assert "25006" in log.text
            assert not call.done()
            await database.run_as(ADMIN, f"BEGIN READ WRITE; {setting} = off; COMMIT")
            # then
            assert (await call).epoch > first.epoch
