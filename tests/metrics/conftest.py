"""An engine in the scheduler's role, and clusters under names that no other test counts under."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.workload.synthetic import synthetic_queue
from tests.support.command import CommandHere
from tests.support.databases import SCHEDULER, Database


@pytest.fixture
async def engine(fresh_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """The engine, as a scheduler has it."""
    made = create_engine(
        DatabaseSettings(url=SecretUrl(fresh_database.url_as(SCHEDULER)), pool_size=2, pool_timeout=5.0)
    )
    yield made
    await made.dispose()


@pytest.fixture
async def group(engine: ExtendedAsyncSAEngine) -> ScalingGroupName:
    """A group of one agent, which cannot hold its 30 sessions of one kernel each."""
    name = ScalingGroupName(f"group-{uuid4().hex[:8]}")
    queue = synthetic_queue(agents=1, sessions=30, kernels=30, scaling_group=name)
    await ClusterRepository(ClusterDBSource(engine)).load_cluster(queue)
    return name


@pytest.fixture
def command_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandHere:
    """The command line, in this process."""
    return CommandHere(monkeypatch, capsys)
