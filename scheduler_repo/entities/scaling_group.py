"""Scaling groups as repositories answer with them."""

from datetime import datetime, timedelta
from typing import Optional, Union

import msgspec

from scheduler_repo.entities.filtering import SearchFilter
from scheduler_repo.entities.spec import Spec
from scheduler_repo.types import (
    OwnerScope,
    PreemptionScope,
    ScalingGroupName,
    SlotVector,
)


class ScalingGroup(msgspec.Struct, frozen=True):
    """A pool of agents with one queue, and its options; see ScalingGroupSpec for what they mean."""

    name: ScalingGroupName
    is_active: bool
    is_public: bool
    pending_timeout: Optional[timedelta]
    preemption_scope: Optional[PreemptionScope]
    preemption_min_runtime: timedelta
    created_at: datetime


class ScalingGroupChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Which options of a group become what; UNSET stays as it is.

    None is a value: no ``pending_timeout`` is no limit, no ``preemption_scope`` is no preemption.
    """

    is_active: Union[bool, msgspec.UnsetType] = msgspec.UNSET
    is_public: Union[bool, msgspec.UnsetType] = msgspec.UNSET
    pending_timeout: Union[Optional[timedelta], msgspec.UnsetType] = msgspec.UNSET
    preemption_scope: Union[Optional[PreemptionScope], msgspec.UnsetType] = msgspec.UNSET
    preemption_min_runtime: Union[timedelta, msgspec.UnsetType] = msgspec.UNSET


class ScalingGroupGrant(msgspec.Struct, frozen=True):
    """That an owner may use a group that is not public.

    ``owner_id`` is the access key, the user's or project's id as text, or the domain's name.
    """

    scaling_group: ScalingGroupName
    scope: OwnerScope
    owner_id: str


class ResourceTotals(msgspec.Struct, frozen=True):
    """What the agents of a group have and have given away at ``observed_at``, by slot index.

    ``capacity`` and ``occupied`` are of all agents that are not LOST or TERMINATED; ``schedulable_capacity``
    and ``schedulable_occupied`` of those among them that take kernels now. Amounts are in each slot's
    smallest unit, exact, and may be above 63 bits, as they are sums.
    """

    scaling_group: ScalingGroupName
    observed_at: datetime
    agent_count: int
    capacity: SlotVector
    occupied: SlotVector
    schedulable_agent_count: int
    schedulable_capacity: SlotVector
    schedulable_occupied: SlotVector


class ScalingGroupSpec(Spec, frozen=True, kw_only=True):
    """A pool of agents with one queue.

    ``pending_timeout`` is how long a session may wait, None for ever: ``sweep_pending_sessions`` cancels those
    that wait for longer, whenever it is called. ``preemption_scope`` says whose sessions a pending one may have
    ended for it (None: nobody's), once they have run for ``preemption_min_runtime``. A group that is not
    ``is_public`` is listed for owners with a grant only.
    """

    name: ScalingGroupName
    is_active: bool = True
    is_public: bool = True
    pending_timeout: Optional[timedelta] = None
    preemption_scope: Optional[PreemptionScope] = None
    preemption_min_runtime: timedelta = timedelta()


class ScalingGroupFilter(SearchFilter, frozen=True, kw_only=True):
    """Which groups a search finds: all that is given must hold; None is not asked."""

    is_active: Optional[bool] = None
    is_public: Optional[bool] = None
    name_prefix: Optional[str] = None
