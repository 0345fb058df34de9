"""Quotas as repositories answer with them, and what comes of them. Amounts by slot index, in smallest units."""

from collections.abc import Mapping
from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.entities.spec import Spec
from scheduler_repo.types import (
    OwnerScope,
    ResourcePolicyName,
    SlotLimits,
    SlotName,
    SlotVector,
)


class Quota(msgspec.Struct, frozen=True):
    """The limits of one owner: those of its policy, and its own, of which None is no limit.

    ``owner_id`` is the access key, the user's or project's id as text, or the domain's name.
    """

    scope: OwnerScope
    owner_id: str
    resource_policy: Optional[ResourcePolicyName]
    slot_limits: SlotLimits
    max_concurrent_sessions: Optional[int]


class EffectiveLimits(msgspec.Struct, frozen=True):
    """What an owner may occupy at the most: the least of its policy's limits and its own; None is no limit."""

    resource_policy: Optional[ResourcePolicyName]
    slot_limits: SlotLimits
    max_concurrent_sessions: Optional[int]
    max_kernels_per_session: Optional[int]


class QuotaUsage(msgspec.Struct, frozen=True):
    """What an owner may occupy and what it occupies, in all scaling groups, at ``observed_at`` (UTC).

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

    ``owner_id`` is the access key, the user's or project's id as text, or the domain's name. What is left out,
    or None, is not limited.
    """

    scope: OwnerScope
    owner_id: str
    resource_policy: Optional[ResourcePolicyName] = None
    slot_limits: Mapping[SlotName, Optional[int]] = {}
    max_concurrent_sessions: Optional[int] = None
