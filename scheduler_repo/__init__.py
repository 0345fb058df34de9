"""The data-access engine under a scheduler of compute sessions, on PostgreSQL with Redis in front."""

import importlib

# What is exported, by the module that holds it.
_EXPORTS: dict[str, tuple[str, ...]] = {
    "scheduler_repo.cache.client": (
        "ValkeyClient",
        "create_redis",
        "create_valkey_client",
    ),
    "scheduler_repo.cache.outcomes": (
        "CacheName",
        "CacheOutcome",
    ),
    "scheduler_repo.database.engine": (
        "ExtendedAsyncSAEngine",
        "create_engine",
    ),
    "scheduler_repo.entities.agent": (
        "Agent",
        "AgentInfo",
        "AgentSlot",
        "AgentSwitchResult",
    ),
    "scheduler_repo.entities.history": (
        "AgentHistoryEntry",
        "SessionHistoryEntry",
    ),
    "scheduler_repo.entities.kernel": ("Kernel",),
    "scheduler_repo.entities.owner": (
        "DomainInfo",
        "KeypairInfo",
        "ProjectInfo",
        "UserInfo",
    ),
    "scheduler_repo.entities.quota": (
        "EffectiveLimits",
        "Quota",
        "QuotaUsage",
    ),
    "scheduler_repo.entities.resource_policy": ("ResourcePolicy",),
    "scheduler_repo.entities.scaling_group": (
        "ResourceTotals",
        "ScalingGroup",
        "ScalingGroupChanges",
        "ScalingGroupGrant",
    ),
    "scheduler_repo.entities.session": (
        "Session",
        "SessionInfo",
        "SessionWithDependencies",
    ),
    "scheduler_repo.entities.vfolder": (
        "MountedVFolder",
        "VFolder",
    ),
    "scheduler_repo.errors": (
        "AgentNotFound",
        "CacheUnavailable",
        "DatabaseTimeout",
        "DatabaseUnavailable",
        "DeadlineExceeded",
        "InvalidCursor",
        "InvalidFilter",
        "InvalidInput",
        "InvalidLimit",
        "InvalidTransition",
        "LeaseHeld",
        "OperationMismatch",
        "OutcomeUnknown",
        "QuotaExceeded",
        "ScalingGroupNotFound",
        "SchedulerRepoError",
        "SessionAlreadyExists",
        "SessionNotFound",
        "StaleLeaseError",
    ),
    "scheduler_repo.leadership": ("LeaseKeeper",),
    "scheduler_repo.loop": (
        "BatchProgress",
        "SchedulerLoop",
        "Tick",
        "TickTimes",
    ),
    "scheduler_repo.metrics.dashboard": ("dashboard_json",),
    "scheduler_repo.metrics.endpoint": ("metrics_endpoint",),
    "scheduler_repo.repositories.agent.db_source": ("AgentDBSource",),
    "scheduler_repo.repositories.agent.filter": ("AgentFilter",),
    "scheduler_repo.repositories.agent.repository": ("AgentRepository",),
    "scheduler_repo.repositories.audit.db_source": ("AuditDBSource",),
    "scheduler_repo.repositories.audit.repository": ("AuditRepository",),
    "scheduler_repo.repositories.cluster.db_source": ("ClusterDBSource",),
    "scheduler_repo.repositories.cluster.repository": ("ClusterRepository",),
    "scheduler_repo.repositories.history.db_source": ("HistoryDBSource",),
    "scheduler_repo.repositories.history.repository": ("HistoryRepository",),
    "scheduler_repo.repositories.kernel.db_source": ("KernelDBSource",),
    "scheduler_repo.repositories.kernel.repository": ("KernelRepository",),
    "scheduler_repo.repositories.lease.db_source": ("LeaseDBSource",),
    "scheduler_repo.repositories.lease.repository": ("LeaseRepository",),
    "scheduler_repo.repositories.lifecycle.db_source": ("LifecycleDBSource",),
    "scheduler_repo.repositories.lifecycle.repository": ("LifecycleRepository",),
    "scheduler_repo.repositories.owner.db_source": ("OwnerDBSource",),
    "scheduler_repo.repositories.owner.repository": ("OwnerRepository",),
    "scheduler_repo.repositories.paging": (
        "Cursor",
        "Page",
    ),
    "scheduler_repo.repositories.quota.db_source": ("QuotaDBSource",),
    "scheduler_repo.repositories.quota.repository": ("QuotaRepository",),
    "scheduler_repo.repositories.reservation.db_source": ("ReservationDBSource",),
    "scheduler_repo.repositories.reservation.repository": ("ReservationRepository",),
    "scheduler_repo.repositories.resource_policy.db_source": ("ResourcePolicyDBSource",),
    "scheduler_repo.repositories.resource_policy.repository": ("ResourcePolicyRepository",),
    "scheduler_repo.repositories.retention.db_source": ("RetentionDBSource",),
    "scheduler_repo.repositories.retention.repository": ("RetentionRepository",),
    "scheduler_repo.repositories.scaling_group.cache_source": (
        "ScalingGroupCacheSource",
        "create_scaling_group_cache_source",
    ),
    "scheduler_repo.repositories.scaling_group.db_source": ("ScalingGroupDBSource",),
    "scheduler_repo.repositories.scaling_group.filter": ("ScalingGroupFilter",),
    "scheduler_repo.repositories.scaling_group.repository": ("ScalingGroupRepository",),
    "scheduler_repo.repositories.scheduler.cache_source": (
        "SchedulerCacheSource",
        "create_cache_source",
    ),
    "scheduler_repo.repositories.scheduler.db_source": ("SchedulerDBSource",),
    "scheduler_repo.repositories.scheduler.repository": ("SchedulerRepository",),
    "scheduler_repo.repositories.session.cache_source": (
        "SessionCacheSource",
        "create_session_cache_source",
    ),
    "scheduler_repo.repositories.session.db_source": ("SessionDBSource",),
    "scheduler_repo.repositories.session.filtering": (
        "SessionFilter",
        "SessionOrder",
    ),
    "scheduler_repo.repositories.session.repository": ("SessionRepository",),
    "scheduler_repo.repositories.vfolder.db_source": ("VFolderDBSource",),
    "scheduler_repo.repositories.vfolder.repository": ("VFolderRepository",),
    "scheduler_repo.resilience.layers": (
        "LayerType",
        "db_source_resilience",
        "repository_resilience",
    ),
    "scheduler_repo.resilience.operation": (
        "OperationKind",
        "current_operation",
    ),
    "scheduler_repo.resilience.policies.breaker": (
        "BreakerArgs",
        "BreakerState",
        "CircuitBreakerPolicy",
    ),
    "scheduler_repo.resilience.policies.metrics": (
        "DomainType",
        "MetricArgs",
        "MetricPolicy",
    ),
    "scheduler_repo.resilience.policies.retry": (
        "BackoffStrategy",
        "RetryArgs",
        "RetryPolicy",
    ),
    "scheduler_repo.resilience.policies.timeout": (
        "TimeoutArgs",
        "TimeoutPolicy",
        "call_deadline",
    ),
    "scheduler_repo.resilience.resilience": (
        "Policy",
        "Resilience",
    ),
    "scheduler_repo.resilience.transient": ("is_transient",),
    "scheduler_repo.scheduling.agent_life": (
        "AgentRejectionCode",
        "AgentReport",
        "AgentReportResult",
        "AgentTransitionResult",
        "HeartbeatResult",
        "LostSessionAction",
        "RecoveryResult",
        "RejectedAgentTransition",
        "ShrunkAgent",
    ),
    "scheduler_repo.scheduling.allocation": (
        "AllocationResult",
        "KernelAllocation",
        "RejectedAllocation",
        "RejectionCode",
        "SessionAllocation",
    ),
    "scheduler_repo.scheduling.audit": (
        "AuditCheck",
        "AuditFinding",
        "AuditReport",
        "RepairReport",
        "RepairedCounter",
        "UnrepairableCounter",
    ),
    "scheduler_repo.scheduling.creation": (
        "CreationRejectionCode",
        "RejectedSession",
        "SessionCreationResult",
    ),
    "scheduler_repo.scheduling.data": (
        "AgentGain",
        "PendingSession",
        "PreemptionCandidate",
        "Reservation",
        "ReservedKernel",
        "SchedulableAgent",
        "SchedulingData",
        "SessionDependency",
    ),
    "scheduler_repo.scheduling.explanation": (
        "SessionExplanation",
        "explain_session",
    ),
    "scheduler_repo.scheduling.lease": ("Lease",),
    "scheduler_repo.scheduling.lifecycle": (
        "DispatchResult",
        "RejectedTransition",
        "SessionAttempt",
        "SessionEnd",
        "SessionRetry",
        "SessionStart",
        "TransitionRejectionCode",
        "TransitionResult",
        "UndispatchedKernel",
        "UndispatchedSession",
    ),
    "scheduler_repo.scheduling.planner": (
        "BestFitPlanner",
        "Planner",
    ),
    "scheduler_repo.scheduling.preemption": (
        "may_preempt",
        "preemptible",
    ),
    "scheduler_repo.scheduling.reservation": (
        "ProtectedVictim",
        "RejectedReservation",
        "ReleaseResult",
        "ReservationRejectionCode",
        "ReservationResult",
        "SessionReservation",
    ),
    "scheduler_repo.scheduling.retention": (
        "ArchivedSession",
        "PurgeResult",
    ),
    "scheduler_repo.scheduling.waiting": (
        "WaitingReason",
        "WaitingSession",
        "waiting_reason",
        "waiting_reasons",
    ),
    "scheduler_repo.scheduling.waiting_text": ("describe",),
    "scheduler_repo.settings": (
        "CacheSettings",
        "DatabaseSettings",
        "SecretUrl",
        "Settings",
        "load_settings",
    ),
    "scheduler_repo.specs": (
        "AgentSpec",
        "ClusterSpec",
        "KernelSpec",
        "KeypairSpec",
        "MountSpec",
        "OwnersSpec",
        "ProjectSpec",
        "QuotaSpec",
        "ResourcePolicySpec",
        "ScalingGroupSpec",
        "SessionCreationSpec",
        "SlotTypeSpec",
        "UserSpec",
        "VFolderSpec",
    ),
}
_HOMES = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    # Loaded when asked for: a command that only prints its help need not wait for SQLAlchemy.
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("scheduler-repo")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
