"""The statements that check the ledger against the kernels."""

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.lookups import require_group
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.database.statements import Statement, fetch_rows
from scheduler_repo.types import ScalingGroupName

OVERCOMMITTED_AGENTS = Statement("overcommitted_agents", read_sql_file("audit/overcommitted_agents.sql"))


async def count_overcommitted(db_sess: SASession, scaling_group: ScalingGroupName) -> int:
    """Count in the session's transaction; raises ScalingGroupNotFound. Costs two statements."""
    await require_group(db_sess, scaling_group)
    ((count,),) = await fetch_rows(db_sess, OVERCOMMITTED_AGENTS, scaling_group)
    return int(count)
