"""The public names, for type checkers and for the lazy loader that ``__init__.py`` reads them with."""

from .cache.client import (
    ValkeyClient as ValkeyClient,
)
from .cache.client import (
    create_redis as create_redis,
)
from .cache.client import (
    create_valkey_client as create_valkey_client,
)
from .cache.metrics import (
    CacheName as CacheName,
)
from .cache.metrics import (
    CacheOutcome as CacheOutcome,
)
from .database.engine import (
    ExtendedAsyncSAEngine as ExtendedAsyncSAEngine,
)
from .database.engine import (
    create_engine as create_engine,
)
from .entities.agent import (
    Agent as Agent,
)
from .entities.agent import (
    AgentFilter as AgentFilter,
)
from .entities.agent import (
    AgentInfo as AgentInfo,
)
from .entities.agent import (
    AgentRejectionCode as AgentRejectionCode,
)
from .entities.agent import (
    AgentReport as AgentReport,
)
from .entities.agent import (
    AgentReportResult as AgentReportResult,
)
from .entities.agent import (
    AgentSlot as AgentSlot,
)
from .entities.agent import (
    AgentSpec as AgentSpec,
)
from .entities.agent import (
    AgentSwitchResult as AgentSwitchResult,
)
from .entities.agent import (
    AgentTransitionResult as AgentTransitionResult,
)
from .entities.agent import (
    HeartbeatResult as HeartbeatResult,
)
from .entities.agent import (
    RejectedAgentTransition as RejectedAgentTransition,
)
from .entities.agent import (
    ShrunkAgent as ShrunkAgent,
)
from .entities.allocation import (
    AllocationResult as AllocationResult,
)
from .entities.allocation import (
    KernelAllocation as KernelAllocation,
)
from .entities.allocation import (
    RejectedAllocation as RejectedAllocation,
)
from .entities.allocation import (
    RejectionCode as RejectionCode,
)
from .entities.allocation import (
    SessionAllocation as SessionAllocation,
)
from .entities.audit import (
    AuditCheck as AuditCheck,
)
from .entities.audit import (
    AuditFinding as AuditFinding,
)
from .entities.audit import (
    AuditReport as AuditReport,
)
from .entities.audit import (
    RepairedCounter as RepairedCounter,
)
from .entities.audit import (
    RepairReport as RepairReport,
)
from .entities.audit import (
    UnrepairableCounter as UnrepairableCounter,
)
from .entities.cluster import (
    ClusterSpec as ClusterSpec,
)
from .entities.history import (
    AgentHistoryEntry as AgentHistoryEntry,
)
from .entities.history import (
    SessionHistoryEntry as SessionHistoryEntry,
)
from .entities.kernel import (
    Kernel as Kernel,
)
from .entities.kernel import (
    KernelSpec as KernelSpec,
)
from .entities.lease import (
    Lease as Lease,
)
from .entities.lifecycle import (
    DispatchResult as DispatchResult,
)
from .entities.lifecycle import (
    LostSessionAction as LostSessionAction,
)
from .entities.lifecycle import (
    RecoveryResult as RecoveryResult,
)
from .entities.lifecycle import (
    RejectedTransition as RejectedTransition,
)
from .entities.lifecycle import (
    SessionAttempt as SessionAttempt,
)
from .entities.lifecycle import (
    SessionEnd as SessionEnd,
)
from .entities.lifecycle import (
    SessionRetry as SessionRetry,
)
from .entities.lifecycle import (
    SessionStart as SessionStart,
)
from .entities.lifecycle import (
    TransitionRejectionCode as TransitionRejectionCode,
)
from .entities.lifecycle import (
    TransitionResult as TransitionResult,
)
from .entities.lifecycle import (
    UndispatchedKernel as UndispatchedKernel,
)
from .entities.lifecycle import (
    UndispatchedSession as UndispatchedSession,
)
from .entities.owner import (
    DomainInfo as DomainInfo,
)
from .entities.owner import (
    KeypairInfo as KeypairInfo,
)
from .entities.owner import (
    KeypairSpec as KeypairSpec,
)
from .entities.owner import (
    OwnersSpec as OwnersSpec,
)
from .entities.owner import (
    ProjectInfo as ProjectInfo,
)
from .entities.owner import (
    ProjectSpec as ProjectSpec,
)
from .entities.owner import (
    UserInfo as UserInfo,
)
from .entities.owner import (
    UserSpec as UserSpec,
)
from .entities.paging import (
    Cursor as Cursor,
)
from .entities.paging import (
    Page as Page,
)
from .entities.quota import (
    EffectiveLimits as EffectiveLimits,
)
from .entities.quota import (
    Quota as Quota,
)
from .entities.quota import (
    QuotaSpec as QuotaSpec,
)
from .entities.quota import (
    QuotaUsage as QuotaUsage,
)
from .entities.reservation import (
    ProtectedVictim as ProtectedVictim,
)
from .entities.reservation import (
    RejectedReservation as RejectedReservation,
)
from .entities.reservation import (
    ReleaseResult as ReleaseResult,
)
from .entities.reservation import (
    ReservationRejectionCode as ReservationRejectionCode,
)
from .entities.reservation import (
    ReservationResult as ReservationResult,
)
from .entities.reservation import (
    SessionReservation as SessionReservation,
)
from .entities.resource_policy import (
    ResourcePolicy as ResourcePolicy,
)
from .entities.resource_policy import (
    ResourcePolicySpec as ResourcePolicySpec,
)
from .entities.retention import (
    ArchivedSession as ArchivedSession,
)
from .entities.retention import (
    PurgeResult as PurgeResult,
)
from .entities.scaling_group import (
    ResourceTotals as ResourceTotals,
)
from .entities.scaling_group import (
    ScalingGroup as ScalingGroup,
)
from .entities.scaling_group import (
    ScalingGroupChanges as ScalingGroupChanges,
)
from .entities.scaling_group import (
    ScalingGroupFilter as ScalingGroupFilter,
)
from .entities.scaling_group import (
    ScalingGroupGrant as ScalingGroupGrant,
)
from .entities.scaling_group import (
    ScalingGroupSpec as ScalingGroupSpec,
)
from .entities.scheduling_data import (
    AgentGain as AgentGain,
)
from .entities.scheduling_data import (
    PendingSession as PendingSession,
)
from .entities.scheduling_data import (
    PreemptionCandidate as PreemptionCandidate,
)
from .entities.scheduling_data import (
    Reservation as Reservation,
)
from .entities.scheduling_data import (
    ReservedKernel as ReservedKernel,
)
from .entities.scheduling_data import (
    SchedulableAgent as SchedulableAgent,
)
from .entities.scheduling_data import (
    SchedulingData as SchedulingData,
)
from .entities.scheduling_data import (
    SessionDependency as SessionDependency,
)
from .entities.session import (
    CreationRejectionCode as CreationRejectionCode,
)
from .entities.session import (
    RejectedSession as RejectedSession,
)
from .entities.session import (
    Session as Session,
)
from .entities.session import (
    SessionCreationResult as SessionCreationResult,
)
from .entities.session import (
    SessionCreationSpec as SessionCreationSpec,
)
from .entities.session import (
    SessionFilter as SessionFilter,
)
from .entities.session import (
    SessionInfo as SessionInfo,
)
from .entities.session import (
    SessionOrder as SessionOrder,
)
from .entities.session import (
    SessionWithDependencies as SessionWithDependencies,
)
from .entities.slot_type import (
    SlotTypeSpec as SlotTypeSpec,
)
from .entities.vfolder import (
    MountedVFolder as MountedVFolder,
)
from .entities.vfolder import (
    MountSpec as MountSpec,
)
from .entities.vfolder import (
    VFolder as VFolder,
)
from .entities.vfolder import (
    VFolderSpec as VFolderSpec,
)
from .errors import (
    AgentNotFound as AgentNotFound,
)
from .errors import (
    CacheUnavailable as CacheUnavailable,
)
from .errors import (
    DatabaseTimeout as DatabaseTimeout,
)
from .errors import (
    DatabaseUnavailable as DatabaseUnavailable,
)
from .errors import (
    DeadlineExceeded as DeadlineExceeded,
)
from .errors import (
    InvalidCursor as InvalidCursor,
)
from .errors import (
    InvalidFilter as InvalidFilter,
)
from .errors import (
    InvalidInput as InvalidInput,
)
from .errors import (
    InvalidLimit as InvalidLimit,
)
from .errors import (
    InvalidTransition as InvalidTransition,
)
from .errors import (
    LeaseHeld as LeaseHeld,
)
from .errors import (
    OperationMismatch as OperationMismatch,
)
from .errors import (
    OutcomeUnknown as OutcomeUnknown,
)
from .errors import (
    QuotaExceeded as QuotaExceeded,
)
from .errors import (
    ScalingGroupNotFound as ScalingGroupNotFound,
)
from .errors import (
    SchedulerRepoError as SchedulerRepoError,
)
from .errors import (
    SessionAlreadyExists as SessionAlreadyExists,
)
from .errors import (
    SessionNotFound as SessionNotFound,
)
from .errors import (
    StaleLeaseError as StaleLeaseError,
)
from .leadership import (
    LeaseKeeper as LeaseKeeper,
)
from .loop import (
    BatchProgress as BatchProgress,
)
from .loop import (
    SchedulerLoop as SchedulerLoop,
)
from .loop import (
    Tick as Tick,
)
from .loop import (
    TickTimes as TickTimes,
)
from .metrics.dashboard import (
    dashboard_json as dashboard_json,
)
from .metrics.endpoint import (
    metrics_endpoint as metrics_endpoint,
)
from .repositories.agent.db_source import (
    AgentDBSource as AgentDBSource,
)
from .repositories.agent.repository import (
    AgentRepository as AgentRepository,
)
from .repositories.audit.db_source import (
    AuditDBSource as AuditDBSource,
)
from .repositories.audit.repository import (
    AuditRepository as AuditRepository,
)
from .repositories.cluster.db_source import (
    ClusterDBSource as ClusterDBSource,
)
from .repositories.cluster.repository import (
    ClusterRepository as ClusterRepository,
)
from .repositories.history.db_source import (
    HistoryDBSource as HistoryDBSource,
)
from .repositories.history.repository import (
    HistoryRepository as HistoryRepository,
)
from .repositories.kernel.db_source import (
    KernelDBSource as KernelDBSource,
)
from .repositories.kernel.repository import (
    KernelRepository as KernelRepository,
)
from .repositories.lease.db_source import (
    LeaseDBSource as LeaseDBSource,
)
from .repositories.lease.repository import (
    LeaseRepository as LeaseRepository,
)
from .repositories.lifecycle.db_source import (
    LifecycleDBSource as LifecycleDBSource,
)
from .repositories.lifecycle.repository import (
    LifecycleRepository as LifecycleRepository,
)
from .repositories.owner.db_source import (
    OwnerDBSource as OwnerDBSource,
)
from .repositories.owner.repository import (
    OwnerRepository as OwnerRepository,
)
from .repositories.quota.db_source import (
    QuotaDBSource as QuotaDBSource,
)
from .repositories.quota.repository import (
    QuotaRepository as QuotaRepository,
)
from .repositories.reservation.db_source import (
    ReservationDBSource as ReservationDBSource,
)
from .repositories.reservation.repository import (
    ReservationRepository as ReservationRepository,
)
from .repositories.resource_policy.db_source import (
    ResourcePolicyDBSource as ResourcePolicyDBSource,
)
from .repositories.resource_policy.repository import (
    ResourcePolicyRepository as ResourcePolicyRepository,
)
from .repositories.retention.db_source import (
    RetentionDBSource as RetentionDBSource,
)
from .repositories.retention.repository import (
    RetentionRepository as RetentionRepository,
)
from .repositories.scaling_group.cache_source import (
    ScalingGroupCacheSource as ScalingGroupCacheSource,
)
from .repositories.scaling_group.cache_source import (
    create_scaling_group_cache_source as create_scaling_group_cache_source,
)
from .repositories.scaling_group.db_source import (
    ScalingGroupDBSource as ScalingGroupDBSource,
)
from .repositories.scaling_group.repository import (
    ScalingGroupRepository as ScalingGroupRepository,
)
from .repositories.scheduler.cache_source import (
    SchedulerCacheSource as SchedulerCacheSource,
)
from .repositories.scheduler.cache_source import (
    create_cache_source as create_cache_source,
)
from .repositories.scheduler.db_source import (
    SchedulerDBSource as SchedulerDBSource,
)
from .repositories.scheduler.repository import (
    SchedulerRepository as SchedulerRepository,
)
from .repositories.session.cache_source import (
    SessionCacheSource as SessionCacheSource,
)
from .repositories.session.cache_source import (
    create_session_cache_source as create_session_cache_source,
)
from .repositories.session.db_source import (
    SessionDBSource as SessionDBSource,
)
from .repositories.session.repository import (
    SessionRepository as SessionRepository,
)
from .repositories.vfolder.db_source import (
    VFolderDBSource as VFolderDBSource,
)
from .repositories.vfolder.repository import (
    VFolderRepository as VFolderRepository,
)
from .resilience.layers import (
    LayerType as LayerType,
)
from .resilience.layers import (
    db_source_resilience as db_source_resilience,
)
from .resilience.layers import (
    repository_resilience as repository_resilience,
)
from .resilience.operation import (
    OperationKind as OperationKind,
)
from .resilience.operation import (
    current_operation as current_operation,
)
from .resilience.policies.breaker import (
    BreakerArgs as BreakerArgs,
)
from .resilience.policies.breaker import (
    BreakerState as BreakerState,
)
from .resilience.policies.breaker import (
    CircuitBreakerPolicy as CircuitBreakerPolicy,
)
from .resilience.policies.metrics import (
    DomainType as DomainType,
)
from .resilience.policies.metrics import (
    MetricArgs as MetricArgs,
)
from .resilience.policies.metrics import (
    MetricPolicy as MetricPolicy,
)
from .resilience.policies.retry import (
    BackoffStrategy as BackoffStrategy,
)
from .resilience.policies.retry import (
    RetryArgs as RetryArgs,
)
from .resilience.policies.retry import (
    RetryPolicy as RetryPolicy,
)
from .resilience.policies.timeout import (
    TimeoutArgs as TimeoutArgs,
)
from .resilience.policies.timeout import (
    TimeoutPolicy as TimeoutPolicy,
)
from .resilience.policies.timeout import (
    call_deadline as call_deadline,
)
from .resilience.resilience import (
    Policy as Policy,
)
from .resilience.resilience import (
    Resilience as Resilience,
)
from .resilience.transient import (
    is_transient as is_transient,
)
from .scheduling.explain.reasons import (
    WaitingReason as WaitingReason,
)
from .scheduling.explain.reasons import (
    WaitingSession as WaitingSession,
)
from .scheduling.explain.reasons import (
    waiting_reason as waiting_reason,
)
from .scheduling.explain.reasons import (
    waiting_reasons as waiting_reasons,
)
from .scheduling.explain.reasons_text import (
    describe as describe,
)
from .scheduling.explain.session import (
    SessionExplanation as SessionExplanation,
)
from .scheduling.explain.session import (
    explain_session as explain_session,
)
from .scheduling.planner.best_fit import (
    BestFitPlanner as BestFitPlanner,
)
from .scheduling.planner.best_fit import (
    Planner as Planner,
)
from .scheduling.rules.preemption import (
    may_preempt as may_preempt,
)
from .scheduling.rules.preemption import (
    preemptible as preemptible,
)
from .settings import (
    CacheSettings as CacheSettings,
)
from .settings import (
    DatabaseSettings as DatabaseSettings,
)
from .settings import (
    SecretUrl as SecretUrl,
)
from .settings import (
    Settings as Settings,
)
from .settings import (
    load_settings as load_settings,
)

__version__: str
