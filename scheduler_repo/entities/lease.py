"""A lease: who may write the decisions of a scaling group, fenced by an epoch."""

from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import quoted, with_article
from scheduler_repo.types import LeaseHolder, ScalingGroupName
from scheduler_repo.validation import Epoch, check_length, check_name, check_range


class Lease(msgspec.Struct, frozen=True):
    """The right to write a group's decisions until ``expires_at``, by the database's clock.

    Each take-over has a higher ``epoch``: a write that names an older one is refused.
    """

    scaling_group: ScalingGroupName
    holder: LeaseHolder
    epoch: int
    acquired_at: datetime
    expires_at: datetime


def check_lease(lease: object, scaling_group: Optional[ScalingGroupName] = None) -> None:
    """Raise InvalidInput for what is neither None nor a lease, of the group that is written if one is given."""
    check_length(scaling_group, "scaling group")
    if lease is None:
        return
    if not isinstance(lease, Lease):
        found = with_article(type(lease))
        raise InvalidInput(f"lease {quoted(lease)} is {found}; give what acquire_lease() answers, or None")
    check_name(lease.scaling_group, "the lease's scaling group")
    check_name(lease.holder, "the lease's holder")
    check_range(lease.epoch, Epoch, "the lease's epoch")
    if scaling_group not in (None, lease.scaling_group):
        raise InvalidInput(
            f"the lease is of scaling group {lease.scaling_group}, the write of {scaling_group}; "
            "acquire the lease of that group"
        )
