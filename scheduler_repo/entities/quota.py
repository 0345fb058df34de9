"""Quotas: the limits of each owner, and what it occupies. Amounts by slot index, in smallest units."""

from collections.abc import Mapping
from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.entities.spec import Spec
from scheduler_repo.errors import InvalidInput
from scheduler_repo.slots import check_slot_limits
from scheduler_repo.steps import Steps
from scheduler_repo.types import OwnerScope, ResourcePolicyName, SlotLimits, SlotName, SlotVector
from scheduler_repo.validation import check_count, check_name, check_owner_id, checked_batch


class Quota(msgspec.Struct, frozen=True):
    """The limits of one owner, its policy's and its own; None is no limit.

    ``owner_id`` is the access key, the user's or project's id as text, or the domain's name.
    """

    scope: OwnerScope
    owner_id: str
    resource_policy: Optional[ResourcePolicyName]
    slot_limits: SlotLimits
    max_concurrent_sessions: Optional[int]


class EffectiveLimits(msgspec.Struct, frozen=True):
    """The limits that bind an owner: the least of its policy's and its own; None is no limit."""

    resource_policy: Optional[ResourcePolicyName]
    slot_limits: SlotLimits
    max_concurrent_sessions: Optional[int]
    max_kernels_per_session: Optional[int]


class QuotaUsage(msgspec.Struct, frozen=True):
    """An owner's limits and usage in all scaling groups at ``observed_at`` (UTC).

    What waits in a queue occupies nothing. Limits that were lowered may stand below what is occupied.
    """

    scope: OwnerScope
    owner_id: str
    observed_at: datetime
    limits: EffectiveLimits
    occupied: SlotVector
    session_count: int


class QuotaSpec(Spec, frozen=True, kw_only=True):
    """The limits of one owner: a policy, limits of its own, or both (then the least holds).

    ``owner_id`` as of a Quota; what is left out, or None, is not limited.
    """

    scope: OwnerScope
    owner_id: str
    resource_policy: Optional[ResourcePolicyName] = None
    slot_limits: Mapping[SlotName, Optional[int]] = {}
    max_concurrent_sessions: Optional[int] = None

    @property
    def subject(self) -> str:
        """The quota's name in messages."""
        return f"quota of {self.scope} {self.owner_id}"


def check_quotas(quotas: object) -> Steps[None]:
    """Raise InvalidInput or InvalidQuantity for the first quota that cannot be, or whose owner has two."""
    seen = set()
    for quota in checked_batch(quotas, QuotaSpec, "quotas"):
        check_quota(quota)
        if (quota.scope, quota.owner_id) in seen:
            raise InvalidInput(f"{quota.subject} is given twice; give each owner's once")
        seen.add((quota.scope, quota.owner_id))
        yield


def check_quota(quota: QuotaSpec) -> None:
    """Raise InvalidInput or InvalidQuantity for a quota that cannot be, whichever slots there are."""
    check_owner_id(quota.scope, quota.owner_id)
    if quota.resource_policy is not None:
        check_name(quota.resource_policy, f"{quota.subject}, resource policy")
    check_slot_limits(quota.slot_limits, quota.subject)
    check_count(quota.max_concurrent_sessions, f"{quota.subject}, max_concurrent_sessions")
