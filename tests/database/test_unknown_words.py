"""A word that a newer version has stored costs a typed error that names it, wherever it is read."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import pytest

from scheduler_repo import Repositories, open_repositories
from scheduler_repo.errors import UnknownWord
from scheduler_repo.types import AgentId, KernelId, ScalingGroupName, SessionId
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.rows import KERNEL, SESSION, insert_all

GROUP, AGENT = ScalingGroupName("gpu"), AgentId("a1")
ONE, ITS_KERNEL = SessionId(SESSION), KernelId(KERNEL)

Read: TypeAlias = Callable[[Repositories], Awaitable[object]]

# (table, column): every kind of read that shows it
PLACES: Final[dict[tuple[str, str], tuple[Read, ...]]] = {
    ("sessions", "status"): (
        lambda repos: repos.sessions.get_session_by_id(ONE),
        lambda repos: repos.sessions.get_session_info(ONE),
        lambda repos: repos.sessions.get_session_state(ONE),
        lambda repos: repos.sessions.search_sessions(),
    ),
    ("sessions", "session_type"): (
        lambda repos: repos.sessions.get_session_by_id(ONE),
        lambda repos: repos.scheduler.get_scheduling_data(GROUP),
    ),
    ("sessions", "cluster_mode"): (lambda repos: repos.scheduler.get_scheduling_data(GROUP),),
    ("kernels", "status"): (
        lambda repos: repos.kernels.get_kernel_by_id(ITS_KERNEL),
        lambda repos: repos.sessions.get_session_with_dependencies(ONE),
    ),
    ("session_vfolder_mounts", "permission"): (lambda repos: repos.vfolders.list_mounts_by_session(ONE),),
    ("session_history", "to_status"): (lambda repos: repos.history.list_session_history(ONE),),
    ("agent_history", "to_status"): (lambda repos: repos.history.list_agent_history(AGENT),),
    ("agents", "status"): (
        lambda repos: repos.agents.get_agent(AGENT),
        lambda repos: repos.agents.list_agents(GROUP),
        lambda repos: repos.agents.drain_agents([AGENT]),
    ),
    ("agents", "returns_as"): (lambda repos: repos.agents.get_agent(AGENT),),
    ("scaling_groups", "preemption_scope"): (
        lambda repos: repos.scaling_groups.get_scaling_group(GROUP),
        lambda repos: repos.scheduler.get_scheduling_data(GROUP),
    ),
    ("scaling_group_grants", "scope"): (lambda repos: repos.scaling_groups.list_scaling_group_grants(GROUP),),
}

DROP_CHECKS: Final = """
DO $$
DECLARE c record;
BEGIN
    FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint
        WHERE contype = 'c' AND connamespace = 'public'::regnamespace
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname);
    END LOOP;
END $$
"""


class TestUnknownWords:
    @pytest.mark.parametrize("place", PLACES, ids=".".join)
    async def test_are_named(self, fresh_database: Database, place: tuple[str, str]) -> None:
        table, column = place
        await insert_all(fresh_database)
        await fresh_database.run_as(ADMIN, DROP_CHECKS)
        await fresh_database.run_as(ADMIN, f"UPDATE {table} SET {column} = 'PAUSED'")
        async with open_repositories(fresh_database.url_as(SCHEDULER)) as repos:
            for read in PLACES[place]:
                with pytest.raises(UnknownWord, match="PAUSED"):
                    await read(repos)
