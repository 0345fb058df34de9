"""Who asks for one row with a word that a newer version has stored gets a typed error that names it."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import pytest

from scheduler_repo import Repositories, open_repositories
from scheduler_repo.entities.scaling_group import ScalingGroupChanges
from scheduler_repo.errors import UnknownWord
from scheduler_repo.types import AgentId, KernelId, ScalingGroupName, SessionId
from tests.support.checks import DROP_CHECKS
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
    ),
    ("sessions", "session_type"): (lambda repos: repos.sessions.get_session_by_id(ONE),),
    ("sessions", "cluster_mode"): (lambda repos: repos.sessions.get_session_by_id(ONE),),
    ("kernels", "status"): (
        lambda repos: repos.kernels.get_kernel_by_id(ITS_KERNEL),
        lambda repos: repos.sessions.get_session_with_dependencies(ONE),
    ),
    ("session_vfolder_mounts", "permission"): (
        lambda repos: repos.sessions.get_session_with_dependencies(ONE),
    ),
    ("agents", "status"): (lambda repos: repos.agents.get_agent(AGENT),),
    ("agents", "returns_as"): (lambda repos: repos.agents.get_agent(AGENT),),
    ("scaling_groups", "preemption_scope"): (
        lambda repos: repos.scaling_groups.get_scaling_group(GROUP),
        lambda repos: repos.scaling_groups.update_scaling_group(GROUP, ScalingGroupChanges(is_active=False)),
    ),
}


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
