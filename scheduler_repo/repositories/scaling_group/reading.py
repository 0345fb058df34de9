"""The statements that read groups and their totals, and what becomes of their rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Optional

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.lookups import no_such_group
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.scaling_group import ResourceTotals, ScalingGroup, ScalingGroupFilter
from scheduler_repo.errors import OwnerNotFound
from scheduler_repo.quoting import quoted
from scheduler_repo.types import AccessKey, PreemptionScope, ProjectId, ScalingGroupName

if TYPE_CHECKING:
    from asyncpg import Record

FIND_SCALING_GROUP = load_statement("scaling_group/find_scaling_group")
SEARCH_SCALING_GROUPS = load_statement("scaling_group/search_scaling_groups")
COUNT_GROUP_AGENTS = load_statement("scaling_group/count_group_agents")
SUM_GROUP_SLOTS = load_statement("scaling_group/sum_group_slots")
GROUP_USER = load_statement("scaling_group/group_user")
USABLE_SCALING_GROUPS = load_statement("scaling_group/usable_scaling_groups")


class TotalsRows(NamedTuple):
    """The agents of a group as counted, and a row of sums for each slot type, in one snapshot."""

    counts: "Record"
    sums: "Sequence[Record]"


async def fetch_groups(
    db_sess: SASession,
    wanted: ScalingGroupFilter,
    after: Optional[ScalingGroupName] = None,
    limit: Optional[int] = None,
) -> "list[Record]":
    """Read the groups behind ``after`` that a filter finds, by name; costs one statement."""
    return await fetch_rows(
        db_sess, SEARCH_SCALING_GROUPS, wanted.is_active, wanted.is_public, wanted.name_prefix, after, limit
    )


async def fetch_totals(db_sess: SASession, scaling_group: ScalingGroupName) -> TotalsRows:
    """Count and sum what the agents of a group have; raises ScalingGroupNotFound. Costs two statements."""
    counts = await fetch_rows(db_sess, COUNT_GROUP_AGENTS, scaling_group)
    if not counts:
        raise no_such_group(scaling_group)
    return TotalsRows(counts[0], await fetch_rows(db_sess, SUM_GROUP_SLOTS, scaling_group))


async def fetch_usable_groups(
    db_sess: SASession, access_key: AccessKey, project_id: Optional[ProjectId]
) -> "list[Record]":
    """Read the groups that an access key may use, by name; raises OwnerNotFound. Costs two statements."""
    users = await fetch_rows(db_sess, GROUP_USER, access_key, project_id)
    if not users:
        raise OwnerNotFound(
            f"there is no access key {quoted(access_key, 200)}; correct the key or register its owner"
        )
    user_id, domain_name, is_active, project_is_active = users[0]
    if project_id is not None and project_is_active is None:
        raise OwnerNotFound(f"there is no project {project_id}; correct the id or register the project")
    if not is_active or (project_id is not None and not project_is_active):
        return []
    return await fetch_rows(db_sess, USABLE_SCALING_GROUPS, access_key, user_id, project_id, domain_name)


def group_infos(rows: "Sequence[Record]") -> tuple[ScalingGroup, ...]:
    """Make groups of their rows, in their order."""
    return tuple(
        ScalingGroup(
            name=row["name"],
            is_active=row["is_active"],
            is_public=row["is_public"],
            pending_timeout=row["pending_timeout"],
            preemption_scope=None
            if row["preemption_scope"] is None
            else PreemptionScope(row["preemption_scope"]),
            preemption_min_runtime=row["preemption_min_runtime"],
            created_at=row["created_at"],
        )
        for row in rows
    )


def resource_totals(scaling_group: ScalingGroupName, rows: TotalsRows) -> ResourceTotals:
    """Arrange the sums of a group by slot index; 0 stands at the index of a slot type that was removed."""
    observed_at, agent_count, schedulable_agent_count = rows.counts
    width = max((row["slot_index"] for row in rows.sums), default=-1) + 1
    capacity, occupied, schedulable_capacity, schedulable_occupied = ([0] * width for _ in range(4))
    for row in rows.sums:
        # The server sums as numeric, which is exact however large.
        index, *sums = map(int, row)
        capacity[index], occupied[index], schedulable_capacity[index], schedulable_occupied[index] = sums
    return ResourceTotals(
        scaling_group,
        observed_at,
        agent_count,
        tuple(capacity),
        tuple(occupied),
        schedulable_agent_count,
        tuple(schedulable_capacity),
        tuple(schedulable_occupied),
    )
