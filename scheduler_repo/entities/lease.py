"""A lease: who may write the decisions of a scaling group, fenced by an epoch."""

from datetime import datetime

import msgspec

from scheduler_repo.types import LeaseHolder, ScalingGroupName


class Lease(msgspec.Struct, frozen=True):
    """The right to write a group's decisions until ``expires_at``, by the database's clock.

    Each take-over has a higher ``epoch``: a write that names an older one is refused.
    """

    scaling_group: ScalingGroupName
    holder: LeaseHolder
    epoch: int
    acquired_at: datetime
    expires_at: datetime
