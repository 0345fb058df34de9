"""The policies that quotas refer to must exist."""

from collections.abc import Iterable

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.errors import ResourcePolicyNotFound
from scheduler_repo.quoting import quoted
from scheduler_repo.types import ResourcePolicyName

LOCK_RESOURCE_POLICIES = load_statement("quota/lock_resource_policies")


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
    """Make the error for a policy that does not exist."""
    return ResourcePolicyNotFound(
        f"there is no resource policy {quoted(name, 200)}; correct the name or create the policy"
    )
