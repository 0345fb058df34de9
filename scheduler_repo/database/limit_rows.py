"""Resource policies and quotas as rows, which are written by themselves and with the owners that they limit."""

from collections.abc import Iterable, Sequence
from typing import Final

from scheduler_repo.database.bulk import array_text
from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.errors import ResourcePolicyNotFound
from scheduler_repo.quoting import quoted
from scheduler_repo.slots import slot_limits
from scheduler_repo.types import ResourcePolicyName, SlotName

LOCK_RESOURCE_POLICIES = load_statement("quota/lock_resource_policies")

POLICY_COLUMNS: Final = (
    ("name", "text"),
    ("slot_limits", "bigint[]"),
    ("max_concurrent_sessions", "int4"),
    ("max_kernels_per_session", "int4"),
)
QUOTA_COLUMNS: Final = (
    ("scope", "text"),
    ("owner_id", "text"),
    ("resource_policy", "text"),
    ("slot_limits", "bigint[]"),
    ("max_concurrent_sessions", "int4"),
)


def policy_row(policy: ResourcePolicySpec, slot_names: Sequence[SlotName]) -> tuple[object, ...]:
    """Write a checked policy as POLICY_COLUMNS; raises UnknownSlotType."""
    return (
        policy.name,
        array_text(slot_limits(policy.slot_limits, slot_names, policy.subject)),
        policy.max_concurrent_sessions,
        policy.max_kernels_per_session,
    )


def quota_row(quota: QuotaSpec, slot_names: Sequence[SlotName]) -> tuple[object, ...]:
    """Write a checked quota as QUOTA_COLUMNS; raises UnknownSlotType."""
    return (
        quota.scope.value,
        quota.owner_id,
        quota.resource_policy,
        array_text(slot_limits(quota.slot_limits, slot_names, quota.subject)),
        quota.max_concurrent_sessions,
    )


async def require_policies(db_sess: SASession, quotas: Iterable[QuotaSpec]) -> None:
    """Lock the policies that quotas refer to against change; raises ResourcePolicyNotFound.

    Costs one statement, and has to come before any lock on a quota.
    """
    names = sorted({quota.resource_policy for quota in quotas if quota.resource_policy is not None})
    found = {row[0] for row in await fetch_rows(db_sess, LOCK_RESOURCE_POLICIES, names)}
    for name in names:
        if name not in found:
            raise no_such_policy(name)


def no_such_policy(name: ResourcePolicyName) -> ResourcePolicyNotFound:
    """Build the error for a policy that does not exist."""
    return ResourcePolicyNotFound(
        f"there is no resource policy {quoted(name, 200)}; correct the name or create the policy",
        resource_policy=name,
    )
