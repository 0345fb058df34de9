"""The tables as SQLAlchemy rows: columns only, for simple reads and writes.

``sql/schema.sql`` is the whole schema, with constraints, indexes and functions; a test compares the columns.
Used by the repositories' sources; a row never leaves a repository.
"""

from scheduler_repo.models.agent import AgentHeartbeatRow, AgentRow, AgentSlotRow
from scheduler_repo.models.base import Base
from scheduler_repo.models.history import AgentHistoryRow, SessionHistoryRow
from scheduler_repo.models.kernel import KernelRow
from scheduler_repo.models.owner import DomainRow, KeypairRow, ProjectRow, UserRow
from scheduler_repo.models.quota import QuotaRow, ResourcePolicyRow
from scheduler_repo.models.reservation import KernelReservationRow, ReservationRow
from scheduler_repo.models.scaling_group import ScalingGroupGrantRow, ScalingGroupRow, SlotTypeRow
from scheduler_repo.models.session import SessionDependencyRow, SessionRow
from scheduler_repo.models.vfolder import SessionVFolderMountRow, VFolderRow
from scheduler_repo.models.writes import OperationRow, SchedulerLeaseRow

__all__ = [
    "Base",
    "SlotTypeRow",
    "DomainRow",
    "ProjectRow",
    "UserRow",
    "KeypairRow",
    "ResourcePolicyRow",
    "QuotaRow",
    "VFolderRow",
    "ScalingGroupRow",
    "ScalingGroupGrantRow",
    "AgentRow",
    "AgentSlotRow",
    "AgentHeartbeatRow",
    "AgentHistoryRow",
    "SessionRow",
    "KernelRow",
    "SessionDependencyRow",
    "SessionVFolderMountRow",
    "SessionHistoryRow",
    "ReservationRow",
    "KernelReservationRow",
    "OperationRow",
    "SchedulerLeaseRow",
]
