"""Scaling groups: their options, what their agents have, and who may use them."""

from datetime import datetime, timedelta
from typing import Optional, Union

import msgspec

from scheduler_repo.entities.spec import SearchFilter, Spec
from scheduler_repo.types import OwnerScope, PreemptionScope, ScalingGroupName, SlotVector
from scheduler_repo.validation import check_duration


class ScalingGroup(msgspec.Struct, frozen=True):
    """A pool of agents with one queue, and its options; ScalingGroupSpec says what they mean."""

    name: ScalingGroupName
    is_active: bool
    is_public: bool
    pending_timeout: Optional[timedelta]
    preemption_scope: Optional[PreemptionScope]
    preemption_min_runtime: timedelta
    created_at: datetime


class ScalingGroupSpec(Spec, frozen=True, kw_only=True):
    """A pool of agents with one queue.

    ``pending_timeout`` is how long a session may wait (None: for ever): ``sweep_pending_sessions`` cancels
    those that wait longer, whenever it is called. ``preemption_scope`` says whose sessions may be ended for a
    pending one (None: nobody's), once they have run for ``preemption_min_runtime``. A group that is not
    ``is_public`` is listed only for owners with a grant. Raises InvalidInput for a timeout that is not above 0.
    """

    name: ScalingGroupName
    is_active: bool = True
    is_public: bool = True
    pending_timeout: Optional[timedelta] = None
    preemption_scope: Optional[PreemptionScope] = None
    preemption_min_runtime: timedelta = timedelta()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_times(self)


class ScalingGroupChanges(Spec, frozen=True, kw_only=True):
    """New values for the options of a group; UNSET leaves one as it is, None is a value.

    Raises InvalidInput for a value that ScalingGroupSpec would not take.
    """

    is_active: Union[bool, msgspec.UnsetType] = msgspec.UNSET
    is_public: Union[bool, msgspec.UnsetType] = msgspec.UNSET
    pending_timeout: Union[Optional[timedelta], msgspec.UnsetType] = msgspec.UNSET
    preemption_scope: Union[Optional[PreemptionScope], msgspec.UnsetType] = msgspec.UNSET
    preemption_min_runtime: Union[timedelta, msgspec.UnsetType] = msgspec.UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_times(self)


def _check_times(options: Union[ScalingGroupSpec, ScalingGroupChanges]) -> None:
    timeout, min_runtime, kind = options.pending_timeout, options.preemption_min_runtime, type(options).__name__
    if isinstance(timeout, timedelta):
        check_duration(timeout, f"{kind}.pending_timeout", "above 0; None is no limit")
    if isinstance(min_runtime, timedelta):
        check_duration(min_runtime, f"{kind}.preemption_min_runtime", "0 or above", least=timedelta())


class ScalingGroupGrant(msgspec.Struct, frozen=True):
    """A permission for an owner to use a group that is not public; ``owner_id`` as of a Quota."""

    scaling_group: ScalingGroupName
    scope: OwnerScope
    owner_id: str


class ResourceTotals(msgspec.Struct, frozen=True):
    """The capacity of a group's agents at ``observed_at``, and how much of it is occupied, by slot index.

    These sum all agents that are not LOST or TERMINATED, the schedulable ones those that take kernels now.
    Amounts are in each slot's smallest unit, exact, and may be above 63 bits because they are sums.
    """

    scaling_group: ScalingGroupName
    observed_at: datetime
    agent_count: int
    capacity: SlotVector
    occupied: SlotVector
    schedulable_agent_count: int
    schedulable_capacity: SlotVector
    schedulable_occupied: SlotVector


class ScalingGroupFilter(SearchFilter, frozen=True, kw_only=True):
    """The fields by which a search of groups is narrowed."""

    is_active: Optional[bool] = None
    is_public: Optional[bool] = None
    name_prefix: Optional[str] = None
