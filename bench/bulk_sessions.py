"""Sessions made and placed in bulk, for the benchmarks of enqueueing and ending them."""

import msgspec

from bench.databases import GROUP, run_as_admin
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.entities.kernel import KernelSpec
from scheduler_repo.entities.scheduling_data import PendingSession
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.types import SlotName

# Placed on the agents in turn, by hand: it is not the placing that is measured.
_RUN_ALL = """
CREATE TEMPORARY TABLE placed AS
    SELECT k.id, k.session_id,
           chosen.agents[1 + (row_number() OVER (ORDER BY k.id)) % cardinality(chosen.agents)] AS agent_id
    FROM sessions AS s
    JOIN kernels AS k ON k.session_id = s.id,
         (SELECT array_agg(id ORDER BY id) AS agents FROM agents) AS chosen
    WHERE s.name = 'bulk' AND s.status = 'PENDING';
UPDATE kernels AS k SET status = 'RUNNING', occupied_slots = requested_slots, agent_id = placed.agent_id
    FROM placed WHERE k.id = placed.id;
UPDATE sessions SET status = 'RUNNING' WHERE id IN (SELECT session_id FROM placed);
UPDATE agent_slots AS s SET occupied = occupied + p.count, capacity = capacity + p.count
    FROM (SELECT agent_id, count(*) FROM placed GROUP BY 1) AS p
    WHERE s.agent_id = p.agent_id AND s.slot_name = 'cpu';
UPDATE agents AS a SET container_count = container_count + p.count
    FROM (SELECT agent_id, count(*) FROM placed GROUP BY 1) AS p WHERE a.id = p.agent_id;
DROP TABLE placed;
"""


def bulk_spec(model: PendingSession) -> SessionCreationSpec:
    """A session of one kernel that asks for the least, with another one's owners."""
    return SessionCreationSpec(
        name="bulk",
        scaling_group=GROUP,
        access_key=model.access_key,
        user_id=model.user_id,
        project_id=model.project_id,
        domain_name=model.domain_name,
        kernels=(KernelSpec(requested_slots={SlotName("cpu"): 1}),),
    )


class BulkTimes(msgspec.Struct, frozen=True):
    """Milliseconds per session: all at once, and one at a time."""

    enqueue: float
    enqueue_single: float
    terminate: float
    terminate_single: float


async def run_all(server: EmbeddedPostgres, database: str) -> None:
    """Have all bulk sessions run."""
    await run_as_admin(server, database, _RUN_ALL)
    await run_as_admin(server, database, "VACUUM (ANALYZE)")
