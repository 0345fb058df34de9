"""The statements that let owners use groups that are not public, or no more."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.idempotent_write import WriteTransaction
from scheduler_repo.database.lookups import no_such_group
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.scaling_group import ScalingGroupGrant
from scheduler_repo.repositories.owner.checking import check_owner_id
from scheduler_repo.repositories.owner.existing import require_owners
from scheduler_repo.types import OwnerScope, ScalingGroupName
from scheduler_repo.validation import check_name, checked_batch

if TYPE_CHECKING:
    from asyncpg import Record

SCALING_GROUP_GRANTS = load_statement("scaling_group/scaling_group_grants")
LOCK_SCALING_GROUPS = load_statement("scaling_group/lock_scaling_groups")
GRANT_SCALING_GROUPS = load_statement("scaling_group/grant_scaling_groups")
REVOKE_SCALING_GROUPS = load_statement("scaling_group/revoke_scaling_groups")


def check_grants(grants: object) -> None:
    """Raise InvalidInput for what is no list of grants, or names what cannot be a group or an owner."""
    for grant in checked_batch(grants, ScalingGroupGrant, "grants"):
        check_name(grant.scaling_group, "a grant's scaling group")
        check_owner_id(grant.scope, grant.owner_id)


async def fetch_grants(db_sess: SASession, scaling_group: ScalingGroupName) -> "list[Record]":
    """Read to whom a group is granted; raises ScalingGroupNotFound. Costs one statement."""
    rows = await fetch_rows(db_sess, SCALING_GROUP_GRANTS, scaling_group)
    if not rows:
        raise no_such_group(scaling_group)
    return rows


def grants_of(rows: "Sequence[Record]") -> tuple[ScalingGroupGrant, ...]:
    """Make grants of their rows, in their order."""
    return tuple(
        ScalingGroupGrant(row["scaling_group"], OwnerScope(row["scope"]), row["owner_id"])
        for row in rows
        if row["scope"] is not None
    )


async def grant_batch(
    write: WriteTransaction, grants: Sequence[ScalingGroupGrant]
) -> tuple[ScalingGroupGrant, ...]:
    """Add the grants that are missing, and return them in the order given; costs three statements.

    Raises ScalingGroupNotFound and OwnerNotFound.
    """
    await _lock_groups(write.db_sess, grants)
    await require_owners(write.db_sess, [(grant.scope, grant.owner_id) for grant in grants])
    return _in_order(grants, await fetch_rows(write.db_sess, GRANT_SCALING_GROUPS, *_columns(grants)))


async def revoke_batch(
    write: WriteTransaction, grants: Sequence[ScalingGroupGrant]
) -> tuple[ScalingGroupGrant, ...]:
    """Remove the grants that are there, and return them in the order given; costs two statements.

    Raises ScalingGroupNotFound.
    """
    await _lock_groups(write.db_sess, grants)
    return _in_order(grants, await fetch_rows(write.db_sess, REVOKE_SCALING_GROUPS, *_columns(grants)))


async def _lock_groups(db_sess: SASession, grants: Sequence[ScalingGroupGrant]) -> None:
    names = sorted({grant.scaling_group for grant in grants})
    found = {row["name"] for row in await fetch_rows(db_sess, LOCK_SCALING_GROUPS, names)}
    for name in names:
        if name not in found:
            raise no_such_group(name)


def _columns(grants: Sequence[ScalingGroupGrant]) -> tuple[list[str], list[str], list[str]]:
    return (
        [grant.scaling_group for grant in grants],
        [grant.scope.value for grant in grants],
        [grant.owner_id for grant in grants],
    )


def _in_order(grants: Sequence[ScalingGroupGrant], rows: "Sequence[Record]") -> tuple[ScalingGroupGrant, ...]:
    changed = set(grants_of(rows))
    return tuple(grant for grant in dict.fromkeys(grants) if grant in changed)
