"""The repositories of agents and scaling groups, on a migrated database, in the scheduler's role."""

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from tests.scheduler.conftest import db_source, engine, load, owner_connection, scheduler

__all__ = [
    "agents",
    "db_source",
    "engine",
    "groups",
    "load",
    "owner_connection",
    "scheduler",
]


@pytest.fixture
def agents(engine: ExtendedAsyncSAEngine) -> AgentRepository:
    return AgentRepository(AgentDBSource(engine))


@pytest.fixture
def groups(engine: ExtendedAsyncSAEngine) -> ScalingGroupRepository:
    return ScalingGroupRepository(ScalingGroupDBSource(engine))
