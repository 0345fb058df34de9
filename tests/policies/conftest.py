"""The repositories of owners, policies and quotas on a migrated database, in the scheduler's role."""

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.owner.db_source import OwnerDBSource
from scheduler_repo.repositories.owner.repository import OwnerRepository
from scheduler_repo.repositories.quota.db_source import QuotaDBSource
from scheduler_repo.repositories.quota.repository import QuotaRepository
from scheduler_repo.repositories.resource_policy.db_source import ResourcePolicyDBSource
from scheduler_repo.repositories.resource_policy.repository import ResourcePolicyRepository


@pytest.fixture
def owners(engine: ExtendedAsyncSAEngine) -> OwnerRepository:
    return OwnerRepository(OwnerDBSource(engine))


@pytest.fixture
def policies(engine: ExtendedAsyncSAEngine) -> ResourcePolicyRepository:
    return ResourcePolicyRepository(ResourcePolicyDBSource(engine))


@pytest.fixture
def quotas(engine: ExtendedAsyncSAEngine) -> QuotaRepository:
    return QuotaRepository(QuotaDBSource(engine))
