"""Resource policies as repositories answer with them."""

from collections.abc import Mapping
from typing import Optional

import msgspec

from scheduler_repo.entities.spec import Spec
from scheduler_repo.types import (
    ResourcePolicyName,
    SlotLimits,
    SlotName,
)


class ResourcePolicy(msgspec.Struct, frozen=True):
    """A named set of limits that owners share; ``slot_limits`` by slot index, in each slot's smallest unit.

    None is no limit.
    """

    name: ResourcePolicyName
    slot_limits: SlotLimits
    max_concurrent_sessions: Optional[int]
    max_kernels_per_session: Optional[int]


class ResourcePolicySpec(Spec, frozen=True, kw_only=True):
    """A named set of limits that owners share; what is left out, or None, is not limited."""

    name: ResourcePolicyName
    slot_limits: Mapping[SlotName, Optional[int]] = {}
    max_concurrent_sessions: Optional[int] = None
    max_kernels_per_session: Optional[int] = None
