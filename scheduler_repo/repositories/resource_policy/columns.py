"""Resource policies as rows: checked before any query, written column by column."""

from collections.abc import Sequence

from scheduler_repo.database.bulk import array_text
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.errors import InvalidInput
from scheduler_repo.slots import check_slot_limits, slot_limits
from scheduler_repo.types import SlotName
from scheduler_repo.validation import (
    check_count,
    check_name,
    checked_batch,
)

POLICY_COLUMNS = (
    ("name", "text"),
    ("slot_limits", "bigint[]"),
    ("max_concurrent_sessions", "int4"),
    ("max_kernels_per_session", "int4"),
)


def check_policies(policies: Sequence[ResourcePolicySpec]) -> None:
    """Raise InvalidInput or InvalidQuantity for the first policy that cannot be, or is given twice."""
    seen = set()
    for policy in checked_batch(policies, ResourcePolicySpec, "resource policies"):
        check_policy(policy)
        if policy.name in seen:
            raise InvalidInput(f"{_subject(policy)} is given twice; give each one once")
        seen.add(policy.name)


def check_policy(policy: ResourcePolicySpec) -> None:
    """Raise InvalidInput or InvalidQuantity for a policy that cannot be; which slots there are is not known."""
    check_name(policy.name, "resource policy")
    subject = _subject(policy)
    check_slot_limits(policy.slot_limits, subject)
    check_count(policy.max_concurrent_sessions, f"{subject}, max_concurrent_sessions")
    check_count(policy.max_kernels_per_session, f"{subject}, max_kernels_per_session")


def policy_row(policy: ResourcePolicySpec, slot_names: Sequence[SlotName]) -> tuple[object, ...]:
    """Write a policy as POLICY_COLUMNS; raises InvalidQuantity, InvalidInput and UnknownSlotType."""
    subject = _subject(policy)
    return (
        policy.name,
        array_text(slot_limits(policy.slot_limits, slot_names, subject)),
        policy.max_concurrent_sessions,
        policy.max_kernels_per_session,
    )


def _subject(policy: ResourcePolicySpec) -> str:
    return f"resource policy {policy.name}"
