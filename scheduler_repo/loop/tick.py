"""What one tick of the loop did."""

from typing import Optional

import msgspec

from scheduler_repo.entities.allocation import RejectedAllocation
from scheduler_repo.entities.audit import AuditReport
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.types import SessionId, TransactionId


class TickTimes(msgspec.Struct, frozen=True):
    """The time of each phase of a tick, in seconds."""

    read: float
    transform: float
    plan: float
    write: float


class Tick(msgspec.Struct, frozen=True):
    """The data, decisions and times of one tick; ``audit`` is set if one was due.

    ``transaction_ids`` are those of what it wrote, one for each batch: ``get_scheduling_data(…, after=…)``.
    """

    number: int
    data: SchedulingData
    allocated: tuple[SessionId, ...]
    rejected: tuple[RejectedAllocation, ...]
    times: TickTimes
    audit: Optional[AuditReport] = None
    transaction_ids: tuple[TransactionId, ...] = ()


class BatchProgress(msgspec.Struct, frozen=True):
    """Progress of writing a tick's decisions."""

    tick_number: int
    pending: int
    planned: int
    allocated: int
    rejected: int
