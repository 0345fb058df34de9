"""Resource policies: named limits that owners share."""

from collections.abc import Mapping
from typing import Optional

import msgspec

from scheduler_repo.entities.spec import Spec
from scheduler_repo.errors import InvalidInput
from scheduler_repo.slots import check_slot_limits
from scheduler_repo.steps import Steps
from scheduler_repo.types import ResourcePolicyName, SlotLimits, SlotName
from scheduler_repo.validation import check_count, check_name, checked_batch


class ResourcePolicy(msgspec.Struct, frozen=True):
    """A named set of limits that owners share, by slot index, in smallest units; None is no limit."""

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

    @property
    def subject(self) -> str:
        """The policy's name in messages."""
        return f"resource policy {self.name}"


def check_policies(policies: object) -> Steps[None]:
    """Raise InvalidInput or InvalidQuantity for the first policy that cannot be, or is given twice."""
    seen = set()
    for policy in checked_batch(policies, ResourcePolicySpec, "resource policies"):
        check_policy(policy)
        if policy.name in seen:
            raise InvalidInput(f"{policy.subject} is given twice; give each one once")
        seen.add(policy.name)
        yield


def check_policy(policy: ResourcePolicySpec) -> None:
    """Raise InvalidInput or InvalidQuantity for a policy that cannot be, whichever slots there are."""
    check_name(policy.name, "resource policy")
    check_slot_limits(policy.slot_limits, policy.subject)
    check_count(policy.max_concurrent_sessions, f"{policy.subject}, max_concurrent_sessions")
    check_count(policy.max_kernels_per_session, f"{policy.subject}, max_kernels_per_session")
