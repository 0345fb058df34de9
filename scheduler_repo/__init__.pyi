"""What the package exports, for type checkers; at run time it is loaded when asked for."""

from scheduler_repo.cache.client import ValkeyClient as ValkeyClient
from scheduler_repo.cache.client import create_redis as create_redis
from scheduler_repo.cache.client import create_valkey_client as create_valkey_client
from scheduler_repo.cache.outcomes import CacheName as CacheName
from scheduler_repo.cache.outcomes import CacheOutcome as CacheOutcome
from scheduler_repo.database.engine import ExtendedAsyncSAEngine as ExtendedAsyncSAEngine
from scheduler_repo.database.engine import create_engine as create_engine
from scheduler_repo.entities.agent import Agent as Agent
from scheduler_repo.entities.agent import AgentInfo as AgentInfo
from scheduler_repo.entities.agent import AgentSlot as AgentSlot
from scheduler_repo.entities.agent import AgentSwitchResult as AgentSwitchResult
from scheduler_repo.entities.history import AgentHistoryEntry as AgentHistoryEntry
from scheduler_repo.entities.history import SessionHistoryEntry as SessionHistoryEntry
from scheduler_repo.entities.kernel import Kernel as Kernel
from scheduler_repo.entities.owner import DomainInfo as DomainInfo
from scheduler_repo.entities.owner import KeypairInfo as KeypairInfo
from scheduler_repo.entities.owner import ProjectInfo as ProjectInfo
from scheduler_repo.entities.owner import UserInfo as UserInfo
from scheduler_repo.entities.quota import EffectiveLimits as EffectiveLimits
from scheduler_repo.entities.quota import Quota as Quota
from scheduler_repo.entities.quota import QuotaUsage as QuotaUsage
from scheduler_repo.entities.resource_policy import ResourcePolicy as ResourcePolicy
from scheduler_repo.entities.scaling_group import ResourceTotals as ResourceTotals
from scheduler_repo.entities.scaling_group import ScalingGroup as ScalingGroup
from scheduler_repo.entities.scaling_group import ScalingGroupChanges as ScalingGroupChanges
from scheduler_repo.entities.scaling_group import ScalingGroupGrant as ScalingGroupGrant
from scheduler_repo.entities.session import Session as Session
from scheduler_repo.entities.session import SessionInfo as SessionInfo
from scheduler_repo.entities.session import SessionWithDependencies as SessionWithDependencies
from scheduler_repo.entities.vfolder import MountedVFolder as MountedVFolder
from scheduler_repo.entities.vfolder import VFolder as VFolder
from scheduler_repo.errors import AgentNotFound as AgentNotFound
from scheduler_repo.errors import CacheUnavailable as CacheUnavailable
from scheduler_repo.errors import DatabaseTimeout as DatabaseTimeout
from scheduler_repo.errors import DatabaseUnavailable as DatabaseUnavailable
from scheduler_repo.errors import DeadlineExceeded as DeadlineExceeded
from scheduler_repo.errors import InvalidCursor as InvalidCursor
from scheduler_repo.errors import InvalidFilter as InvalidFilter
from scheduler_repo.errors import InvalidInput as InvalidInput
from scheduler_repo.errors import InvalidLimit as InvalidLimit
from scheduler_repo.errors import InvalidTransition as InvalidTransition
from scheduler_repo.errors import LeaseHeld as LeaseHeld
from scheduler_repo.errors import OperationMismatch as OperationMismatch
from scheduler_repo.errors import OutcomeUnknown as OutcomeUnknown
from scheduler_repo.errors import QuotaExceeded as QuotaExceeded
from scheduler_repo.errors import ScalingGroupNotFound as ScalingGroupNotFound
from scheduler_repo.errors import SchedulerRepoError as SchedulerRepoError
from scheduler_repo.errors import SessionAlreadyExists as SessionAlreadyExists
from scheduler_repo.errors import SessionNotFound as SessionNotFound
from scheduler_repo.errors import StaleLeaseError as StaleLeaseError
from scheduler_repo.leadership import LeaseKeeper as LeaseKeeper
from scheduler_repo.loop import BatchProgress as BatchProgress
from scheduler_repo.loop import SchedulerLoop as SchedulerLoop
from scheduler_repo.loop import Tick as Tick
from scheduler_repo.loop import TickTimes as TickTimes
from scheduler_repo.metrics.dashboard import dashboard_json as dashboard_json
from scheduler_repo.metrics.endpoint import metrics_endpoint as metrics_endpoint
from scheduler_repo.repositories.agent.db_source import AgentDBSource as AgentDBSource
from scheduler_repo.repositories.agent.filter import AgentFilter as AgentFilter
from scheduler_repo.repositories.agent.repository import AgentRepository as AgentRepository
from scheduler_repo.repositories.audit.db_source import AuditDBSource as AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository as AuditRepository
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource as ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository as ClusterRepository
from scheduler_repo.repositories.history.db_source import HistoryDBSource as HistoryDBSource
from scheduler_repo.repositories.history.repository import HistoryRepository as HistoryRepository
from scheduler_repo.repositories.kernel.db_source import KernelDBSource as KernelDBSource
from scheduler_repo.repositories.kernel.repository import KernelRepository as KernelRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource as LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository as LeaseRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource as LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository as LifecycleRepository
from scheduler_repo.repositories.owner.db_source import OwnerDBSource as OwnerDBSource
from scheduler_repo.repositories.owner.repository import OwnerRepository as OwnerRepository
from scheduler_repo.repositories.paging import Cursor as Cursor
from scheduler_repo.repositories.paging import Page as Page
from scheduler_repo.repositories.quota.db_source import QuotaDBSource as QuotaDBSource
from scheduler_repo.repositories.quota.repository import QuotaRepository as QuotaRepository
from scheduler_repo.repositories.reservation.db_source import ReservationDBSource as ReservationDBSource
from scheduler_repo.repositories.reservation.repository import ReservationRepository as ReservationRepository
from scheduler_repo.repositories.resource_policy.db_source import (
    ResourcePolicyDBSource as ResourcePolicyDBSource,
)
from scheduler_repo.repositories.resource_policy.repository import (
    ResourcePolicyRepository as ResourcePolicyRepository,
)
from scheduler_repo.repositories.retention.db_source import RetentionDBSource as RetentionDBSource
from scheduler_repo.repositories.retention.repository import RetentionRepository as RetentionRepository
from scheduler_repo.repositories.scaling_group.cache_source import (
    ScalingGroupCacheSource as ScalingGroupCacheSource,
)
from scheduler_repo.repositories.scaling_group.cache_source import (
    create_scaling_group_cache_source as create_scaling_group_cache_source,
)
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource as ScalingGroupDBSource
from scheduler_repo.repositories.scaling_group.filter import ScalingGroupFilter as ScalingGroupFilter
from scheduler_repo.repositories.scaling_group.repository import (
    ScalingGroupRepository as ScalingGroupRepository,
)
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource as SchedulerCacheSource
from scheduler_repo.repositories.scheduler.cache_source import create_cache_source as create_cache_source
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource as SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository as SchedulerRepository
from scheduler_repo.repositories.session.cache_source import SessionCacheSource as SessionCacheSource
from scheduler_repo.repositories.session.cache_source import (
    create_session_cache_source as create_session_cache_source,
)
from scheduler_repo.repositories.session.db_source import SessionDBSource as SessionDBSource
from scheduler_repo.repositories.session.filtering import SessionFilter as SessionFilter
from scheduler_repo.repositories.session.filtering import SessionOrder as SessionOrder
from scheduler_repo.repositories.session.repository import SessionRepository as SessionRepository
from scheduler_repo.repositories.vfolder.db_source import VFolderDBSource as VFolderDBSource
from scheduler_repo.repositories.vfolder.repository import VFolderRepository as VFolderRepository
from scheduler_repo.resilience.layers import LayerType as LayerType
from scheduler_repo.resilience.layers import db_source_resilience as db_source_resilience
from scheduler_repo.resilience.layers import repository_resilience as repository_resilience
from scheduler_repo.resilience.operation import OperationKind as OperationKind
from scheduler_repo.resilience.operation import current_operation as current_operation
from scheduler_repo.resilience.policies.breaker import BreakerArgs as BreakerArgs
from scheduler_repo.resilience.policies.breaker import BreakerState as BreakerState
from scheduler_repo.resilience.policies.breaker import CircuitBreakerPolicy as CircuitBreakerPolicy
from scheduler_repo.resilience.policies.metrics import DomainType as DomainType
from scheduler_repo.resilience.policies.metrics import MetricArgs as MetricArgs
from scheduler_repo.resilience.policies.metrics import MetricPolicy as MetricPolicy
from scheduler_repo.resilience.policies.retry import BackoffStrategy as BackoffStrategy
from scheduler_repo.resilience.policies.retry import RetryArgs as RetryArgs
from scheduler_repo.resilience.policies.retry import RetryPolicy as RetryPolicy
from scheduler_repo.resilience.policies.timeout import TimeoutArgs as TimeoutArgs
from scheduler_repo.resilience.policies.timeout import TimeoutPolicy as TimeoutPolicy
from scheduler_repo.resilience.policies.timeout import call_deadline as call_deadline
from scheduler_repo.resilience.resilience import Policy as Policy
from scheduler_repo.resilience.resilience import Resilience as Resilience
from scheduler_repo.resilience.transient import is_transient as is_transient
from scheduler_repo.scheduling.agent_life import AgentRejectionCode as AgentRejectionCode
from scheduler_repo.scheduling.agent_life import AgentReport as AgentReport
from scheduler_repo.scheduling.agent_life import AgentReportResult as AgentReportResult
from scheduler_repo.scheduling.agent_life import AgentTransitionResult as AgentTransitionResult
from scheduler_repo.scheduling.agent_life import HeartbeatResult as HeartbeatResult
from scheduler_repo.scheduling.agent_life import LostSessionAction as LostSessionAction
from scheduler_repo.scheduling.agent_life import RecoveryResult as RecoveryResult
from scheduler_repo.scheduling.agent_life import RejectedAgentTransition as RejectedAgentTransition
from scheduler_repo.scheduling.agent_life import ShrunkAgent as ShrunkAgent
from scheduler_repo.scheduling.allocation import AllocationResult as AllocationResult
from scheduler_repo.scheduling.allocation import KernelAllocation as KernelAllocation
from scheduler_repo.scheduling.allocation import RejectedAllocation as RejectedAllocation
from scheduler_repo.scheduling.allocation import RejectionCode as RejectionCode
from scheduler_repo.scheduling.allocation import SessionAllocation as SessionAllocation
from scheduler_repo.scheduling.audit import AuditCheck as AuditCheck
from scheduler_repo.scheduling.audit import AuditFinding as AuditFinding
from scheduler_repo.scheduling.audit import AuditReport as AuditReport
from scheduler_repo.scheduling.audit import RepairedCounter as RepairedCounter
from scheduler_repo.scheduling.audit import RepairReport as RepairReport
from scheduler_repo.scheduling.audit import UnrepairableCounter as UnrepairableCounter
from scheduler_repo.scheduling.creation import CreationRejectionCode as CreationRejectionCode
from scheduler_repo.scheduling.creation import RejectedSession as RejectedSession
from scheduler_repo.scheduling.creation import SessionCreationResult as SessionCreationResult
from scheduler_repo.scheduling.data import AgentGain as AgentGain
from scheduler_repo.scheduling.data import PendingSession as PendingSession
from scheduler_repo.scheduling.data import PreemptionCandidate as PreemptionCandidate
from scheduler_repo.scheduling.data import Reservation as Reservation
from scheduler_repo.scheduling.data import ReservedKernel as ReservedKernel
from scheduler_repo.scheduling.data import SchedulableAgent as SchedulableAgent
from scheduler_repo.scheduling.data import SchedulingData as SchedulingData
from scheduler_repo.scheduling.data import SessionDependency as SessionDependency
from scheduler_repo.scheduling.explanation import SessionExplanation as SessionExplanation
from scheduler_repo.scheduling.explanation import explain_session as explain_session
from scheduler_repo.scheduling.lease import Lease as Lease
from scheduler_repo.scheduling.lifecycle import DispatchResult as DispatchResult
from scheduler_repo.scheduling.lifecycle import RejectedTransition as RejectedTransition
from scheduler_repo.scheduling.lifecycle import SessionAttempt as SessionAttempt
from scheduler_repo.scheduling.lifecycle import SessionEnd as SessionEnd
from scheduler_repo.scheduling.lifecycle import SessionRetry as SessionRetry
from scheduler_repo.scheduling.lifecycle import SessionStart as SessionStart
from scheduler_repo.scheduling.lifecycle import TransitionRejectionCode as TransitionRejectionCode
from scheduler_repo.scheduling.lifecycle import TransitionResult as TransitionResult
from scheduler_repo.scheduling.lifecycle import UndispatchedKernel as UndispatchedKernel
from scheduler_repo.scheduling.lifecycle import UndispatchedSession as UndispatchedSession
from scheduler_repo.scheduling.planner import BestFitPlanner as BestFitPlanner
from scheduler_repo.scheduling.planner import Planner as Planner
from scheduler_repo.scheduling.preemption import may_preempt as may_preempt
from scheduler_repo.scheduling.preemption import preemptible as preemptible
from scheduler_repo.scheduling.reservation import ProtectedVictim as ProtectedVictim
from scheduler_repo.scheduling.reservation import RejectedReservation as RejectedReservation
from scheduler_repo.scheduling.reservation import ReleaseResult as ReleaseResult
from scheduler_repo.scheduling.reservation import ReservationRejectionCode as ReservationRejectionCode
from scheduler_repo.scheduling.reservation import ReservationResult as ReservationResult
from scheduler_repo.scheduling.reservation import SessionReservation as SessionReservation
from scheduler_repo.scheduling.retention import ArchivedSession as ArchivedSession
from scheduler_repo.scheduling.retention import PurgeResult as PurgeResult
from scheduler_repo.scheduling.waiting import WaitingReason as WaitingReason
from scheduler_repo.scheduling.waiting import WaitingSession as WaitingSession
from scheduler_repo.scheduling.waiting import waiting_reason as waiting_reason
from scheduler_repo.scheduling.waiting import waiting_reasons as waiting_reasons
from scheduler_repo.scheduling.waiting_text import describe as describe
from scheduler_repo.settings import CacheSettings as CacheSettings
from scheduler_repo.settings import DatabaseSettings as DatabaseSettings
from scheduler_repo.settings import SecretUrl as SecretUrl
from scheduler_repo.settings import Settings as Settings
from scheduler_repo.settings import load_settings as load_settings
from scheduler_repo.specs import AgentSpec as AgentSpec
from scheduler_repo.specs import ClusterSpec as ClusterSpec
from scheduler_repo.specs import KernelSpec as KernelSpec
from scheduler_repo.specs import KeypairSpec as KeypairSpec
from scheduler_repo.specs import MountSpec as MountSpec
from scheduler_repo.specs import OwnersSpec as OwnersSpec
from scheduler_repo.specs import ProjectSpec as ProjectSpec
from scheduler_repo.specs import QuotaSpec as QuotaSpec
from scheduler_repo.specs import ResourcePolicySpec as ResourcePolicySpec
from scheduler_repo.specs import ScalingGroupSpec as ScalingGroupSpec
from scheduler_repo.specs import SessionCreationSpec as SessionCreationSpec
from scheduler_repo.specs import SlotTypeSpec as SlotTypeSpec
from scheduler_repo.specs import UserSpec as UserSpec
from scheduler_repo.specs import VFolderSpec as VFolderSpec

__version__: str
