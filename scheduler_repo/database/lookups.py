"""Statements that several entities read with: the snapshot, slot types, the queue, owners' usage, a group."""

from collections.abc import Sequence

from asyncpg import Record

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.errors import OwnerNotFound, ScalingGroupNotFound
from scheduler_repo.quoting import quoted
from scheduler_repo.scheduling.snapshot.build import slot_types_by_index
from scheduler_repo.types import OwnerScope, ScalingGroupName, SlotName

SNAPSHOT = load_statement("scheduler/snapshot")
SCALING_GROUP = load_statement("scaling_group/scaling_group")
SLOT_TYPES = load_statement("scaling_group/slot_types")
NAMED_OWNERS = load_statement("owner/named_owners")
PENDING_KERNELS = load_statement("scheduler/pending_kernels")
PENDING_DEPENDENCIES = load_statement("scheduler/pending_dependencies")
RESERVATIONS = load_statement("scheduler/reservations")
OWNERS = load_statement("scheduler/owners")


def no_such_group(scaling_group: ScalingGroupName) -> ScalingGroupNotFound:
    """Build the error for a group that does not exist."""
    return ScalingGroupNotFound(
        f"there is no scaling group {quoted(scaling_group)}",
        advice="correct the name or create the group",
        scaling_group=scaling_group,
    )


async def require_group(db_sess: SASession, scaling_group: ScalingGroupName) -> None:
    """Raise ScalingGroupNotFound if there is no such group; else a mistyped name would look like no results."""
    if not await fetch_rows(db_sess, SCALING_GROUP, scaling_group):
        raise no_such_group(scaling_group)


async def fetch_slot_types(db_sess: SASession) -> tuple[SlotType, ...]:
    """Read all slot types by index; costs one statement."""
    return slot_types_by_index(await fetch_rows(db_sess, SLOT_TYPES))


async def fetch_slot_names(db_sess: SASession) -> list[SlotName]:
    """Read the names of all slot types by index: the order of every vector of amounts; costs one statement."""
    return [slot_type.name for slot_type in await fetch_slot_types(db_sess)]


async def require_owners(db_sess: SASession, owners: Sequence[tuple[OwnerScope, str]]) -> list[Record]:
    """Return the rows of named_owners.sql, one per owner; raises OwnerNotFound. Costs one statement.

    Owners are never deleted, so the ones that are found stay.
    """
    scopes = [scope.value for scope, _ in owners]
    rows = await fetch_rows(db_sess, NAMED_OWNERS, scopes, [owner_id for _, owner_id in owners])
    for row in rows:
        if not row["is_known"]:
            raise OwnerNotFound(
                f"there is no {row['scope']} {quoted(row['owner_id'], 200)}; correct the scope and id, or "
                "register the owner first; nothing was written",
                scope=OwnerScope(row["scope"]),
                owner_id=row["owner_id"],
            )
    return rows
