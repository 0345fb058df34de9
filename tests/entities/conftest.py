"""The repositories of agents and scaling groups, on a migrated database, in the scheduler's role."""

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository


@pytest.fixture
def agents(engine: ExtendedAsyncSAEngine) -> AgentRepository:
    return AgentRepository(AgentDBSource(engine))


@pytest.fixture
def groups(engine: ExtendedAsyncSAEngine) -> ScalingGroupRepository:
    return ScalingGroupRepository(ScalingGroupDBSource(engine))
