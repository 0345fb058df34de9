"""Quotas as rows: checked before any query, written column by column."""

from collections.abc import Sequence

from scheduler_repo.database.bulk import array_text
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.errors import InvalidInput
from scheduler_repo.slots import check_slot_limits, slot_limits
from scheduler_repo.types import SlotName
from scheduler_repo.validation import (
    check_count,
    check_name,
    check_owner_id,
    checked_batch,
)

QUOTA_COLUMNS = (
    ("scope", "text"),
    ("owner_id", "text"),
    ("resource_policy", "text"),
    ("slot_limits", "bigint[]"),
    ("max_concurrent_sessions", "int4"),
)


def check_quotas(quotas: Sequence[QuotaSpec]) -> None:
    """Raise InvalidInput or InvalidQuantity for the first quota that cannot be, or whose owner has two."""
    seen = set()
    for quota in checked_batch(quotas, QuotaSpec, "quotas"):
        check_quota(quota)
        if (quota.scope, quota.owner_id) in seen:
            raise InvalidInput(f"{_subject(quota)} is given twice; give each owner's once")
        seen.add((quota.scope, quota.owner_id))


def check_quota(quota: QuotaSpec) -> None:
    """Raise InvalidInput or InvalidQuantity for a quota that cannot be; which slots there are is not known."""
    check_owner_id(quota.scope, quota.owner_id)
    subject = _subject(quota)
    if quota.resource_policy is not None:
        check_name(quota.resource_policy, f"{subject}, resource policy")
    check_slot_limits(quota.slot_limits, subject)
    check_count(quota.max_concurrent_sessions, f"{subject}, max_concurrent_sessions")


def quota_row(quota: QuotaSpec, slot_names: Sequence[SlotName]) -> tuple[object, ...]:
    """Write a quota as QUOTA_COLUMNS; raises InvalidQuantity, InvalidInput and UnknownSlotType."""
    check_owner_id(quota.scope, quota.owner_id)
    subject = _subject(quota)
    return (
        quota.scope.value,
        quota.owner_id,
        quota.resource_policy,
        array_text(slot_limits(quota.slot_limits, slot_names, subject)),
        quota.max_concurrent_sessions,
    )


def _subject(quota: QuotaSpec) -> str:
    return f"quota of {quota.scope} {quota.owner_id}"
