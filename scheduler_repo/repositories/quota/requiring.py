"""What a quota refers to must exist: its owner, and its policy."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.errors import OwnerNotFound, ResourcePolicyNotFound
from scheduler_repo.specs import QuotaSpec
from scheduler_repo.types import OwnerScope, ResourcePolicyName

if TYPE_CHECKING:
    from asyncpg import Record

QUOTA_OWNERS = load_statement("quota_owners")
LOCK_RESOURCE_POLICIES = load_statement("lock_resource_policies")


async def require_policies(db_sess: SASession, quotas: Iterable[QuotaSpec]) -> None:
    """Lock the policies that quotas refer to against change; raises ResourcePolicyNotFound.

    Costs one statement, and has to come before any lock on a quota.
    """
    names = sorted({quota.resource_policy for quota in quotas if quota.resource_policy is not None})
    found = {row[0] for row in await fetch_rows(db_sess, LOCK_RESOURCE_POLICIES, names)}
    for name in names:
        if name not in found:
            raise no_such_policy(name)


async def require_owners(db_sess: SASession, owners: Sequence[tuple[OwnerScope, str]]) -> "list[Record]":
    """Return the rows of quota_owners.sql, one per owner; raises OwnerNotFound. Costs one statement.

    Owners are never deleted: what is found stays.
    """
    scopes = [scope.value for scope, _ in owners]
    rows = await fetch_rows(db_sess, QUOTA_OWNERS, scopes, [owner_id for _, owner_id in owners])
    for row in rows:
        if not row["is_known"]:
            raise OwnerNotFound(
                f"there is no {row['scope']} {row['owner_id']!a:.100} that could have a quota; correct the "
                "scope and id, or register the owner first; nothing was written"
            )
    return rows


def no_such_policy(name: ResourcePolicyName) -> ResourcePolicyNotFound:
    """Make the error for a policy that does not exist."""
    return ResourcePolicyNotFound(
        f"there is no resource policy {name!a:.100}; correct the name or create the policy"
    )
