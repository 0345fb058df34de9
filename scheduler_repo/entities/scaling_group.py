"""Scaling groups as repositories answer with them."""

from datetime import datetime, timedelta
from typing import Optional

import msgspec

from scheduler_repo.types import PreemptionScope, ScalingGroupName, SlotVector


class ScalingGroupInfo(msgspec.Struct, frozen=True):
    """A pool of agents with one queue, and its options; see ScalingGroupSpec for what they mean."""

    name: ScalingGroupName
    is_active: bool
    is_public: bool
    pending_timeout: Optional[timedelta]
    preemption_scope: Optional[PreemptionScope]
    preemption_min_runtime: timedelta
    created_at: datetime


class ResourceTotals(msgspec.Struct, frozen=True):
    """What the agents of a group have and have given away at ``observed_at``, by slot index, in smallest units.

    ``capacity`` and ``occupied`` are of all agents that are not LOST or TERMINATED; ``schedulable_capacity`` and
    ``schedulable_occupied`` of those among them that take kernels now.
    """

    scaling_group: ScalingGroupName
    observed_at: datetime
    agent_count: int
    capacity: SlotVector
    occupied: SlotVector
    schedulable_agent_count: int
    schedulable_capacity: SlotVector
    schedulable_occupied: SlotVector
