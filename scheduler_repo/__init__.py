"""The data-access engine under a scheduler of compute sessions, on PostgreSQL with Redis in front."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
    from scheduler_repo.errors import SchedulerRepoError
    from scheduler_repo.loop import SchedulerLoop
    from scheduler_repo.repositories.agent.db_source import AgentDBSource
    from scheduler_repo.repositories.agent.repository import AgentRepository
    from scheduler_repo.repositories.owner.db_source import OwnerDBSource
    from scheduler_repo.repositories.owner.repository import OwnerRepository
    from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
    from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
    from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource, create_redis
    from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
    from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
    from scheduler_repo.repositories.session.db_source import SessionDBSource
    from scheduler_repo.repositories.session.repository import SessionRepository
    from scheduler_repo.scheduling.allocation import AllocationResult, KernelAllocation, SessionAllocation
    from scheduler_repo.scheduling.data import SchedulingData
    from scheduler_repo.scheduling.planner import BestFitPlanner, Planner
    from scheduler_repo.scheduling.waiting import waiting_reasons
    from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl, load_settings

__all__ = [
    "create_engine",
    "create_redis",
    "load_settings",
    "CacheSettings",
    "DatabaseSettings",
    "SecretUrl",
    "ExtendedAsyncSAEngine",
    "SchedulerRepository",
    "SchedulerDBSource",
    "SchedulerCacheSource",
    "AgentRepository",
    "AgentDBSource",
    "OwnerRepository",
    "OwnerDBSource",
    "ScalingGroupRepository",
    "ScalingGroupDBSource",
    "SessionRepository",
    "SessionDBSource",
    "SchedulerLoop",
    "Planner",
    "BestFitPlanner",
    "SchedulingData",
    "SessionAllocation",
    "KernelAllocation",
    "AllocationResult",
    "waiting_reasons",
    "SchedulerRepoError",
]

_REPOSITORIES = "scheduler_repo.repositories"
_HOMES = {
    "create_engine": "scheduler_repo.database.engine",
    "create_redis": f"{_REPOSITORIES}.scheduler.cache_source",
    "load_settings": "scheduler_repo.settings",
    "CacheSettings": "scheduler_repo.settings",
    "DatabaseSettings": "scheduler_repo.settings",
    "SecretUrl": "scheduler_repo.settings",
    "ExtendedAsyncSAEngine": "scheduler_repo.database.engine",
    "SchedulerRepository": f"{_REPOSITORIES}.scheduler.repository",
    "SchedulerDBSource": f"{_REPOSITORIES}.scheduler.db_source",
    "SchedulerCacheSource": f"{_REPOSITORIES}.scheduler.cache_source",
    "AgentRepository": f"{_REPOSITORIES}.agent.repository",
    "AgentDBSource": f"{_REPOSITORIES}.agent.db_source",
    "OwnerRepository": f"{_REPOSITORIES}.owner.repository",
    "OwnerDBSource": f"{_REPOSITORIES}.owner.db_source",
    "ScalingGroupRepository": f"{_REPOSITORIES}.scaling_group.repository",
    "ScalingGroupDBSource": f"{_REPOSITORIES}.scaling_group.db_source",
    "SessionRepository": f"{_REPOSITORIES}.session.repository",
    "SessionDBSource": f"{_REPOSITORIES}.session.db_source",
    "SchedulerLoop": "scheduler_repo.loop",
    "Planner": "scheduler_repo.scheduling.planner",
    "BestFitPlanner": "scheduler_repo.scheduling.planner",
    "SchedulingData": "scheduler_repo.scheduling.data",
    "SessionAllocation": "scheduler_repo.scheduling.allocation",
    "KernelAllocation": "scheduler_repo.scheduling.allocation",
    "AllocationResult": "scheduler_repo.scheduling.allocation",
    "waiting_reasons": "scheduler_repo.scheduling.waiting",
    "SchedulerRepoError": "scheduler_repo.errors",
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # Loaded when asked for: a command that only prints its help need not wait for SQLAlchemy.
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_HOMES[name]), name)
