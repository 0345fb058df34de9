"""The data-access engine under a scheduler of compute sessions, on PostgreSQL with Redis in front."""

import importlib
from typing import TYPE_CHECKING

# What is exported, by the module that holds it.
_EXPORTS: dict[str, tuple[str, ...]] = {
    "scheduler_repo.database.engine": (
        "ExtendedAsyncSAEngine",
        "create_engine",
    ),
    "scheduler_repo.errors": (
        "InvalidInput",
        "LeaseHeld",
        "OperationMismatch",
        "OutcomeUnknown",
        "ScalingGroupNotFound",
        "SchedulerRepoError",
        "StaleLeaseError",
    ),
    "scheduler_repo.leadership": ("LeaseKeeper",),
    "scheduler_repo.loop": (
        "BatchProgress",
        "SchedulerLoop",
        "Tick",
        "TickTimes",
    ),
    "scheduler_repo.repositories.agent.db_source": ("AgentDBSource",),
    "scheduler_repo.repositories.agent.repository": ("AgentRepository",),
    "scheduler_repo.repositories.audit.db_source": ("AuditDBSource",),
    "scheduler_repo.repositories.audit.repository": ("AuditRepository",),
    "scheduler_repo.repositories.cluster.db_source": ("ClusterDBSource",),
    "scheduler_repo.repositories.cluster.repository": ("ClusterRepository",),
    "scheduler_repo.repositories.lease.db_source": ("LeaseDBSource",),
    "scheduler_repo.repositories.lease.repository": ("LeaseRepository",),
    "scheduler_repo.repositories.lifecycle.db_source": ("LifecycleDBSource",),
    "scheduler_repo.repositories.lifecycle.repository": ("LifecycleRepository",),
    "scheduler_repo.repositories.owner.db_source": ("OwnerDBSource",),
    "scheduler_repo.repositories.owner.repository": ("OwnerRepository",),
    "scheduler_repo.repositories.reservation.db_source": ("ReservationDBSource",),
    "scheduler_repo.repositories.reservation.repository": ("ReservationRepository",),
    "scheduler_repo.repositories.retention.db_source": ("RetentionDBSource",),
    "scheduler_repo.repositories.retention.repository": ("RetentionRepository",),
    "scheduler_repo.repositories.scaling_group.db_source": ("ScalingGroupDBSource",),
    "scheduler_repo.repositories.scaling_group.repository": ("ScalingGroupRepository",),
    "scheduler_repo.repositories.scheduler.cache_source": (
        "SchedulerCacheSource",
        "create_cache_source",
    ),
    "scheduler_repo.repositories.scheduler.db_source": ("SchedulerDBSource",),
    "scheduler_repo.repositories.scheduler.repository": ("SchedulerRepository",),
    "scheduler_repo.repositories.session.db_source": ("SessionDBSource",),
    "scheduler_repo.repositories.session.repository": ("SessionRepository",),
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
    "scheduler_repo.scheduling.data": (
        "AgentGain",
        "PendingSession",
        "PreemptionCandidate",
        "Reservation",
        "ReservedKernel",
        "SchedulableAgent",
        "SchedulingData",
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
        "OwnersSpec",
        "ProjectSpec",
        "QuotaSpec",
        "ResourcePolicySpec",
        "ScalingGroupSpec",
        "SessionCreationSpec",
        "SlotTypeSpec",
        "UserSpec",
    ),
}
_HOMES = {name: module for module, names in _EXPORTS.items() for name in names}

if TYPE_CHECKING:
    from scheduler_repo.database.engine import ExtendedAsyncSAEngine as ExtendedAsyncSAEngine
    from scheduler_repo.database.engine import create_engine as create_engine
    from scheduler_repo.errors import InvalidInput as InvalidInput
    from scheduler_repo.errors import LeaseHeld as LeaseHeld
    from scheduler_repo.errors import OperationMismatch as OperationMismatch
    from scheduler_repo.errors import OutcomeUnknown as OutcomeUnknown
    from scheduler_repo.errors import ScalingGroupNotFound as ScalingGroupNotFound
    from scheduler_repo.errors import SchedulerRepoError as SchedulerRepoError
    from scheduler_repo.errors import StaleLeaseError as StaleLeaseError
    from scheduler_repo.leadership import LeaseKeeper as LeaseKeeper
    from scheduler_repo.loop import BatchProgress as BatchProgress
    from scheduler_repo.loop import SchedulerLoop as SchedulerLoop
    from scheduler_repo.loop import Tick as Tick
    from scheduler_repo.loop import TickTimes as TickTimes
    from scheduler_repo.repositories.agent.db_source import AgentDBSource as AgentDBSource
    from scheduler_repo.repositories.agent.repository import AgentRepository as AgentRepository
    from scheduler_repo.repositories.audit.db_source import AuditDBSource as AuditDBSource
    from scheduler_repo.repositories.audit.repository import AuditRepository as AuditRepository
    from scheduler_repo.repositories.cluster.db_source import ClusterDBSource as ClusterDBSource
    from scheduler_repo.repositories.cluster.repository import ClusterRepository as ClusterRepository
    from scheduler_repo.repositories.lease.db_source import LeaseDBSource as LeaseDBSource
    from scheduler_repo.repositories.lease.repository import LeaseRepository as LeaseRepository
    from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource as LifecycleDBSource
    from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository as LifecycleRepository
    from scheduler_repo.repositories.owner.db_source import OwnerDBSource as OwnerDBSource
    from scheduler_repo.repositories.owner.repository import OwnerRepository as OwnerRepository
    from scheduler_repo.repositories.reservation.db_source import ReservationDBSource as ReservationDBSource
    from scheduler_repo.repositories.reservation.repository import (
        ReservationRepository as ReservationRepository,
    )
    from scheduler_repo.repositories.retention.db_source import RetentionDBSource as RetentionDBSource
    from scheduler_repo.repositories.retention.repository import RetentionRepository as RetentionRepository
    from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource as ScalingGroupDBSource
    from scheduler_repo.repositories.scaling_group.repository import (
        ScalingGroupRepository as ScalingGroupRepository,
    )
    from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource as SchedulerCacheSource
    from scheduler_repo.repositories.scheduler.cache_source import create_cache_source as create_cache_source
    from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource as SchedulerDBSource
    from scheduler_repo.repositories.scheduler.repository import SchedulerRepository as SchedulerRepository
    from scheduler_repo.repositories.session.db_source import SessionDBSource as SessionDBSource
    from scheduler_repo.repositories.session.repository import SessionRepository as SessionRepository
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
    from scheduler_repo.scheduling.data import AgentGain as AgentGain
    from scheduler_repo.scheduling.data import PendingSession as PendingSession
    from scheduler_repo.scheduling.data import PreemptionCandidate as PreemptionCandidate
    from scheduler_repo.scheduling.data import Reservation as Reservation
    from scheduler_repo.scheduling.data import ReservedKernel as ReservedKernel
    from scheduler_repo.scheduling.data import SchedulableAgent as SchedulableAgent
    from scheduler_repo.scheduling.data import SchedulingData as SchedulingData
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
    from scheduler_repo.specs import OwnersSpec as OwnersSpec
    from scheduler_repo.specs import ProjectSpec as ProjectSpec
    from scheduler_repo.specs import QuotaSpec as QuotaSpec
    from scheduler_repo.specs import ResourcePolicySpec as ResourcePolicySpec
    from scheduler_repo.specs import ScalingGroupSpec as ScalingGroupSpec
    from scheduler_repo.specs import SessionCreationSpec as SessionCreationSpec
    from scheduler_repo.specs import SlotTypeSpec as SlotTypeSpec
    from scheduler_repo.specs import UserSpec as UserSpec
else:
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
