"""The statements of one tick, run in one transaction into raw rows."""

from typing import Optional

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.lookups import (
    OWNER_LIMITS,
    OWNER_OCCUPANCY,
    OWNER_SESSION_COUNTS,
    PENDING_DEPENDENCIES,
    PENDING_KERNELS,
    RESERVATIONS,
    SCALING_GROUP,
    SLOT_TYPES,
    SNAPSHOT,
    no_such_group,
)
from scheduler_repo.database.statements import Statement, fetch_rows, load_statement
from scheduler_repo.scheduling.snapshot.build import finish_in_slices, pending_owners
from scheduler_repo.scheduling.snapshot.rows import RawSchedulingData
from scheduler_repo.types import ScalingGroupName

PENDING_SESSIONS = load_statement("scheduler/pending_sessions")
SCHEDULABLE_AGENTS = load_statement("scheduler/schedulable_agents")
SCHEDULABLE_AGENT_SLOTS = load_statement("scheduler/schedulable_agent_slots")
AGENT_OCCUPANCY = load_statement("scheduler/agent_occupancy")
PREEMPTION_CANDIDATES = load_statement("scheduler/preemption_candidates")

TICK_STATEMENTS: tuple[Statement, ...] = (
    SNAPSHOT,
    SCALING_GROUP,
    SLOT_TYPES,
    PENDING_SESSIONS,
    PENDING_KERNELS,
    PENDING_DEPENDENCIES,
    SCHEDULABLE_AGENTS,
    SCHEDULABLE_AGENT_SLOTS,
    AGENT_OCCUPANCY,
    RESERVATIONS,
    PREEMPTION_CANDIDATES,
    OWNER_OCCUPANCY,
    OWNER_SESSION_COUNTS,
    OWNER_LIMITS,
)


async def fetch_raw_scheduling_data(
    db_sess: SASession, scaling_group: ScalingGroupName, pending_limit: Optional[int]
) -> RawSchedulingData:
    """Run the statements of one tick in the session's transaction; raises ScalingGroupNotFound.

    Costs 14 statements, whatever the size.
    """
    # The first statement takes the snapshot.
    (snapshot,) = await fetch_rows(db_sess, SNAPSHOT)
    groups = await fetch_rows(db_sess, SCALING_GROUP, scaling_group)
    if not groups:
        raise no_such_group(scaling_group)
    sessions = await fetch_rows(db_sess, PENDING_SESSIONS, scaling_group, pending_limit)
    window = None if pending_limit is None else [row[0] for row in sessions]
    owners = await finish_in_slices(pending_owners(sessions))
    owner_ids = (owners.access_keys, owners.users, owners.projects, owners.domains)
    return RawSchedulingData(
        pending_limit=pending_limit,
        snapshot=snapshot,
        scaling_group=groups[0],
        slot_types=await fetch_rows(db_sess, SLOT_TYPES),
        pending_sessions=sessions,
        pending_kernels=await fetch_rows(db_sess, PENDING_KERNELS, scaling_group, window),
        pending_dependencies=await fetch_rows(db_sess, PENDING_DEPENDENCIES, scaling_group, window),
        agents=await fetch_rows(db_sess, SCHEDULABLE_AGENTS, scaling_group),
        agent_slots=await fetch_rows(db_sess, SCHEDULABLE_AGENT_SLOTS, scaling_group),
        agent_occupancy=await fetch_rows(db_sess, AGENT_OCCUPANCY, scaling_group),
        reservations=await fetch_rows(db_sess, RESERVATIONS, scaling_group),
        preemption_candidates=await fetch_rows(db_sess, PREEMPTION_CANDIDATES, scaling_group),
        owners=owners,
        owner_occupancy=await fetch_rows(db_sess, OWNER_OCCUPANCY, *owner_ids),
        owner_session_counts=await fetch_rows(db_sess, OWNER_SESSION_COUNTS, *owner_ids),
        owner_limits=await fetch_rows(db_sess, OWNER_LIMITS, *owner_ids),
    )


def count_rows(raw: RawSchedulingData) -> int:
    """Count the rows that the statements of one tick returned."""
    answers = (getattr(raw, name) for name in raw.__struct_fields__)
    # The snapshot and the group are one row each.
    return 2 + sum(len(answer) for answer in answers if isinstance(answer, list))
