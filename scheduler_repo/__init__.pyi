"""The public names: type checkers read them here, and the lazy loader of ``__init__.py`` too."""

from .cache.client import (
    ValkeyClient as ValkeyClient, create_redis as create_redis, create_valkey_client as create_valkey_client,
)
from .cache.metrics import CacheName as CacheName, CacheOutcome as CacheOutcome
from .connection import (
    CacheOptions as CacheOptions, ConnectionOptions as ConnectionOptions, DatabaseOptions as DatabaseOptions,
    Repositories as Repositories, embedded_repositories as embedded_repositories,
    open_repositories as open_repositories,
)
from .database.engine import (
    ExtendedAsyncSAEngine as ExtendedAsyncSAEngine, SASession as SASession, create_engine as create_engine,
)
from .database.waker import ChangeWaker as ChangeWaker
from .entities.agent import (
    Agent as Agent, AgentFilter as AgentFilter, AgentInfo as AgentInfo,
    AgentRejectionCode as AgentRejectionCode, AgentReport as AgentReport,
    AgentReportResult as AgentReportResult, AgentSlot as AgentSlot, AgentSpec as AgentSpec,
    AgentSwitchResult as AgentSwitchResult, AgentTransitionResult as AgentTransitionResult,
    HeartbeatResult as HeartbeatResult, RejectedAgentTransition as RejectedAgentTransition,
    ShrunkAgent as ShrunkAgent, ShrunkContainers as ShrunkContainers, ShrunkSlot as ShrunkSlot,
)
from .entities.allocation import (
    AllocationResult as AllocationResult, KernelAllocation as KernelAllocation, Placement as Placement,
    RejectedAllocation as RejectedAllocation, RejectionCode as RejectionCode,
    SessionAllocation as SessionAllocation,
)
from .entities.audit import (
    AuditCheck as AuditCheck, AuditFinding as AuditFinding, AuditReport as AuditReport,
    DriftedCounter as DriftedCounter, LogLengths as LogLengths, RepairObstacle as RepairObstacle, RepairReport as RepairReport,
    RepairedCounter as RepairedCounter, UnrepairableCounter as UnrepairableCounter,
)
from .entities.cluster import ClusterSpec as ClusterSpec
from .entities.history import AgentHistoryEntry as AgentHistoryEntry, SessionHistoryEntry as SessionHistoryEntry
from .entities.kernel import Kernel as Kernel, KernelSpec as KernelSpec
from .entities.lease import Lease as Lease
from .entities.lifecycle import (
    DispatchResult as DispatchResult, LostSessionAction as LostSessionAction, RecoveryResult as RecoveryResult,
    RejectedTransition as RejectedTransition, SessionAttempt as SessionAttempt, SessionEnd as SessionEnd,
    SessionRetry as SessionRetry, SessionStart as SessionStart,
    TransitionRejectionCode as TransitionRejectionCode, TransitionResult as TransitionResult,
    UndispatchedKernel as UndispatchedKernel, UndispatchedSession as UndispatchedSession,
)
from .entities.owner import (
    DomainInfo as DomainInfo, KeypairInfo as KeypairInfo, KeypairSpec as KeypairSpec, OwnersSpec as OwnersSpec,
    ProjectInfo as ProjectInfo, ProjectSpec as ProjectSpec, UserInfo as UserInfo, UserSpec as UserSpec,
)
from .entities.obstacles import (
    ArchitectureMismatch as ArchitectureMismatch, ContainerShortage as ContainerShortage,
    HoldNotFree as HoldNotFree, NotDesignated as NotDesignated, OwnerBreach as OwnerBreach,
    Protection as Protection, QuotaBreach as QuotaBreach, QuotaKind as QuotaKind, RowLocked as RowLocked,
    SlotShortage as SlotShortage, StartNotReached as StartNotReached,
)
from .entities.paging import Cursor as Cursor, Page as Page
from .entities.quota import (
    EffectiveLimits as EffectiveLimits, Quota as Quota, QuotaSpec as QuotaSpec, QuotaUsage as QuotaUsage,
)
from .entities.reservation import (
    ProtectedVictim as ProtectedVictim, RejectedReservation as RejectedReservation,
    ReleaseResult as ReleaseResult, ReservationRejectionCode as ReservationRejectionCode,
    ReservationResult as ReservationResult, SessionReservation as SessionReservation,
)
from .entities.resource_policy import ResourcePolicy as ResourcePolicy, ResourcePolicySpec as ResourcePolicySpec
from .entities.retention import (
    ArchivedChange as ArchivedChange, ArchivedKernel as ArchivedKernel, ArchivedMount as ArchivedMount,
    ArchivedSession as ArchivedSession, PurgeResult as PurgeResult,
)
from .entities.scaling_group import (
    ResourceTotals as ResourceTotals, ScalingGroup as ScalingGroup, ScalingGroupChanges as ScalingGroupChanges,
    ScalingGroupFilter as ScalingGroupFilter, ScalingGroupGrant as ScalingGroupGrant,
    ScalingGroupSpec as ScalingGroupSpec,
)
from .entities.scheduling_data import (
    AgentGain as AgentGain, DependencyState as DependencyState,
    OwnerUsage as OwnerUsage, PendingKernel as PendingKernel, PendingSession as PendingSession,
    PreemptionCandidate as PreemptionCandidate, Reservation as Reservation, ReservedKernel as ReservedKernel,
    ScalingGroupInfo as ScalingGroupInfo, SchedulableAgent as SchedulableAgent,
    SchedulingData as SchedulingData, SessionDependency as SessionDependency,
)
from .entities.session import (
    CreationRejectionCode as CreationRejectionCode, RejectedSession as RejectedSession, Session as Session,
    SessionCreationResult as SessionCreationResult, SessionCreationSpec as SessionCreationSpec,
    SessionFilter as SessionFilter, SessionInfo as SessionInfo, SessionOrder as SessionOrder,
    SessionState as SessionState, SessionWithDependencies as SessionWithDependencies,
)
from .entities.slot_type import SlotType as SlotType, SlotTypeSpec as SlotTypeSpec
from .entities.snapshot_changes import (
    FullReadReason as FullReadReason, Refresh as Refresh, SnapshotChanges as SnapshotChanges,
)
from .entities.snapshot_comparison import (
    ComparisonOutcome as ComparisonOutcome, SnapshotComparison as SnapshotComparison,
    SnapshotDifference as SnapshotDifference,
)
from .entities.snapshot_token import (
    ChangeHistory as ChangeHistory, DatabaseIdentity as DatabaseIdentity, SnapshotToken as SnapshotToken,
)
from .entities.unreadable import (
    DependencyOutlook as DependencyOutlook, PartialAnswer as PartialAnswer, UnreadableRow as UnreadableRow,
)
from .entities.vfolder import (
    MountSpec as MountSpec, MountedVFolder as MountedVFolder, VFolder as VFolder, VFolderSpec as VFolderSpec,
)
from .errors import (
    AgentAlreadyExists as AgentAlreadyExists, AgentNotFound as AgentNotFound,
    AllocationRefused as AllocationRefused, AlreadyExists as AlreadyExists, BreakerOpen as BreakerOpen,
    BusinessError as BusinessError, CacheBusy as CacheBusy, CacheMisused as CacheMisused,
    CacheRefused as CacheRefused, CacheUnavailable as CacheUnavailable,
    ConfigurationLimitReached as ConfigurationLimitReached, ConstraintViolated as ConstraintViolated,
    DatabaseError as DatabaseError, DatabaseExhausted as DatabaseExhausted,
    DatabaseReadOnly as DatabaseReadOnly, DatabaseTimeout as DatabaseTimeout,
    DatabaseUnavailable as DatabaseUnavailable, DeadlineExceeded as DeadlineExceeded, DiskFull as DiskFull, DispatcherFailed as DispatcherFailed,
    EmbeddedServerError as EmbeddedServerError, EngineClosed as EngineClosed, InvalidCursor as InvalidCursor,
    InvalidFilter as InvalidFilter, InvalidInput as InvalidInput, InvalidLimit as InvalidLimit,
    InvalidQuantity as InvalidQuantity, InvalidSettings as InvalidSettings, InvalidSnapshot as InvalidSnapshot,
    InvalidToken as InvalidToken, InvalidTrace as InvalidTrace,
    InvalidTransition as InvalidTransition, InvalidWiring as InvalidWiring, KernelNotFound as KernelNotFound,
    LeaseHeld as LeaseHeld, LockNotAvailable as LockNotAvailable, MissingDependency as MissingDependency,
    NotFound as NotFound, OperationMismatch as OperationMismatch, OutOfMemory as OutOfMemory,
    OutcomeUnknown as OutcomeUnknown, OwnerAlreadyExists as OwnerAlreadyExists, OwnerNotFound as OwnerNotFound,
    PermissionDenied as PermissionDenied, PlannerFailed as PlannerFailed, PoolerInTheWay as PoolerInTheWay, QuotaExceeded as QuotaExceeded,
    QuotaNotFound as QuotaNotFound, ResourcePolicyNotFound as ResourcePolicyNotFound,
    ScalingGroupAlreadyExists as ScalingGroupAlreadyExists, ScalingGroupNotFound as ScalingGroupNotFound,
    SchedulerRepoError as SchedulerRepoError, SchemaChanged as SchemaChanged, SchemaMismatch as SchemaMismatch,
    SessionAlreadyExists as SessionAlreadyExists, SessionNotFound as SessionNotFound,
    StaleLeaseError as StaleLeaseError, TooManyConnections as TooManyConnections,
    TransactionConflict as TransactionConflict, UnknownSlotType as UnknownSlotType, UnknownWord as UnknownWord,
    UnsupportedEncoding as UnsupportedEncoding, VFolderAlreadyExists as VFolderAlreadyExists,
    VFolderNotFound as VFolderNotFound, WriteNotSeen as WriteNotSeen, WrongEventLoop as WrongEventLoop,
)
from .leadership import LeaseKeeper as LeaseKeeper
from .loop.dispatching import Dispatcher as Dispatcher, HandOff as HandOff
from .loop.pacing import RunSettings as RunSettings
from .loop.scheduler_loop import SchedulerLoop as SchedulerLoop
from .loop.state import LoopPhase as LoopPhase, LoopState as LoopState
from .loop.sweeping import Sweeper as Sweeper
from .loop.sweeps import Sweeps as Sweeps
from .loop.tick import BatchProgress as BatchProgress, Tick as Tick, TickTimes as TickTimes
from .metrics.dashboard import dashboard_json as dashboard_json
from .metrics.endpoint import metrics_endpoint as metrics_endpoint
from .repositories.agent.db_source import AgentDBSource as AgentDBSource
from .repositories.agent.repository import AgentRepository as AgentRepository
from .repositories.audit.db_source import AuditDBSource as AuditDBSource
from .repositories.audit.repository import AuditRepository as AuditRepository
from .repositories.cluster.db_source import ClusterDBSource as ClusterDBSource
from .repositories.cluster.repository import ClusterRepository as ClusterRepository
from .repositories.history.db_source import HistoryDBSource as HistoryDBSource
from .repositories.history.repository import HistoryRepository as HistoryRepository
from .repositories.kernel.db_source import KernelDBSource as KernelDBSource
from .repositories.kernel.repository import KernelRepository as KernelRepository
from .repositories.lease.db_source import LeaseDBSource as LeaseDBSource
from .repositories.lease.repository import LeaseRepository as LeaseRepository
from .repositories.lifecycle.db_source import LifecycleDBSource as LifecycleDBSource
from .repositories.lifecycle.repository import LifecycleRepository as LifecycleRepository
from .repositories.owner.db_source import OwnerDBSource as OwnerDBSource
from .repositories.owner.repository import OwnerRepository as OwnerRepository
from .repositories.quota.db_source import QuotaDBSource as QuotaDBSource
from .repositories.quota.repository import QuotaRepository as QuotaRepository
from .repositories.reservation.db_source import ReservationDBSource as ReservationDBSource
from .repositories.reservation.repository import ReservationRepository as ReservationRepository
from .repositories.resource_policy.db_source import ResourcePolicyDBSource as ResourcePolicyDBSource
from .repositories.resource_policy.repository import ResourcePolicyRepository as ResourcePolicyRepository
from .repositories.retention.db_source import RetentionDBSource as RetentionDBSource
from .repositories.retention.repository import RetentionRepository as RetentionRepository
from .repositories.scaling_group.cache_source import (
    ScalingGroupCacheSource as ScalingGroupCacheSource,
    create_scaling_group_cache_source as create_scaling_group_cache_source,
)
from .repositories.scaling_group.db_source import ScalingGroupDBSource as ScalingGroupDBSource
from .repositories.scaling_group.repository import ScalingGroupRepository as ScalingGroupRepository
from .repositories.scheduler.cache_source import (
    SchedulerCacheSource as SchedulerCacheSource, create_cache_source as create_cache_source,
)
from .repositories.scheduler.db_source import SchedulerDBSource as SchedulerDBSource
from .repositories.scheduler.tracker import SnapshotTracker as SnapshotTracker
from .repositories.scheduler.repository import SchedulerRepository as SchedulerRepository
from .repositories.session.cache_source import (
    SessionCacheSource as SessionCacheSource, create_session_cache_source as create_session_cache_source,
)
from .repositories.session.db_source import SessionDBSource as SessionDBSource
from .repositories.session.repository import SessionRepository as SessionRepository
from .repositories.vfolder.db_source import VFolderDBSource as VFolderDBSource
from .repositories.vfolder.repository import VFolderRepository as VFolderRepository
from .resilience.layers import LayerType as LayerType
from .resilience.operation import OperationKind as OperationKind, current_operation as current_operation
from .resilience.policies.breaker import (
    BreakerArgs as BreakerArgs, BreakerState as BreakerState, CircuitBreakerPolicy as CircuitBreakerPolicy,
)
from .resilience.policies.metrics import (
    DomainType as DomainType, MetricArgs as MetricArgs, MetricPolicy as MetricPolicy,
)
from .resilience.policies.retry import (
    BackoffStrategy as BackoffStrategy, RetryArgs as RetryArgs, RetryPolicy as RetryPolicy,
    retry_waits_disabled as retry_waits_disabled,
)
from .resilience.policies.timeout import (
    TimeoutArgs as TimeoutArgs, TimeoutPolicy as TimeoutPolicy, call_deadline as call_deadline,
)
from .resilience.resilience import Policy as Policy, Resilience as Resilience
from .resilience.clients import passes_by_itself as passes_by_itself
from .resilience.transient import is_transient as is_transient
from .scheduling.explain.reasons import (
    WaitingReason as WaitingReason, WaitingSession as WaitingSession, waiting_reason as waiting_reason,
    waiting_reasons as waiting_reasons,
)
from .scheduling.explain.replay import (
    ReplayedPlan as ReplayedPlan, StillWaiting as StillWaiting, replay_plan as replay_plan,
)
from .scheduling.explain.text import describe as describe
from .scheduling.explain.session import (
    SessionExplanation as SessionExplanation, explain_session as explain_session,
)
from .scheduling.planner.best_fit import BestFitPlanner as BestFitPlanner
from .scheduling.planner.protocol import (
    FullPlanReason as FullPlanReason, IncrementalPlan as IncrementalPlan,
    IncrementalPlanner as IncrementalPlanner, Planner as Planner,
)
from .scheduling.snapshot.anonymize import anonymize as anonymize
from .scheduling.rules.preemption import may_preempt as may_preempt, preemptible as preemptible
from .settings import (
    CacheSettings as CacheSettings, DatabaseSettings as DatabaseSettings, SecretKey as SecretKey,
    SecretUrl as SecretUrl, Settings as Settings, load_settings as load_settings,
)
from .snapshot_files import read_snapshot as read_snapshot, write_snapshot as write_snapshot
from .types import (
    AccessKey as AccessKey, AgentId as AgentId, AgentStatus as AgentStatus, Architecture as Architecture,
    ClusterMode as ClusterMode, DomainName as DomainName, KernelId as KernelId, LeaseHolder as LeaseHolder,
    MountPermission as MountPermission, OperationId as OperationId, OwnerScope as OwnerScope,
    PreemptionScope as PreemptionScope, ProjectId as ProjectId, ResourcePolicyName as ResourcePolicyName,
    ScalingGroupName as ScalingGroupName, SessionId as SessionId, SessionResult as SessionResult,
    SessionStatus as SessionStatus, SessionType as SessionType, SlotName as SlotName,
    TransactionId as TransactionId, UserId as UserId, VFolderId as VFolderId,
)

__version__: str
