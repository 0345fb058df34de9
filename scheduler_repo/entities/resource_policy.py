"""Resource policies as repositories answer with them."""

from typing import Optional

import msgspec

from scheduler_repo.types import ResourcePolicyName, SlotLimits


class ResourcePolicy(msgspec.Struct, frozen=True):
    """A named set of limits that owners share; ``slot_limits`` by slot index, in each slot's smallest unit.

    None is no limit.
    """

    name: ResourcePolicyName
    slot_limits: SlotLimits
    max_concurrent_sessions: Optional[int]
    max_kernels_per_session: Optional[int]
