"""The count that the demo ends with sees what the counters do not."""

from collections.abc import AsyncIterator

import pytest

from scheduler_repo.database.engine import create_engine
from scheduler_repo.errors import ScalingGroupNotFound
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName
from tests.support.databases import OWNER, SCHEDULER, Database

GROUP = ScalingGroupName("batch")
_BUSIEST = (
    "(SELECT agent_id FROM kernels WHERE agent_id IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1)"
)
_ONE_KERNEL = f"(SELECT id FROM kernels WHERE agent_id = {_BUSIEST} ORDER BY id LIMIT 1)"


class TestOvercommittedAgents:
    @pytest.fixture
    async def repository(self, placed_database: Database) -> AsyncIterator[SchedulerRepository]:
        """That of a group in which the loop has placed what fits."""
        engine = create_engine(DatabaseSettings(url=SecretUrl(placed_database.url_as(SCHEDULER))))
        yield SchedulerRepository(SchedulerDBSource(engine))
        await engine.dispose()

    async def test_the_loop_overcommits_none(self, repository: SchedulerRepository) -> None:
        assert await repository.count_overcommitted_agents(GROUP) == 0

    @pytest.mark.parametrize(
        "tampering",
        [
            f"UPDATE kernels SET occupied_slots[1] = {2**50} WHERE id = {_ONE_KERNEL}",
            # of a slot type that nobody has registered
            f"UPDATE kernels SET occupied_slots[5:9] = '{{0,0,0,0,1}}' WHERE id = {_ONE_KERNEL}",
            f"UPDATE agents SET max_containers = 1, container_count = 1 WHERE id = {_BUSIEST}",
        ],
    )
    async def test_kernels_that_are_too_many_are_counted(
        self, repository: SchedulerRepository, placed_database: Database, tampering: str
    ) -> None:
        await placed_database.run_as(OWNER, tampering)
        assert await repository.count_overcommitted_agents(GROUP) == 1

    async def test_what_has_ended_occupies_nothing(
        self, repository: SchedulerRepository, placed_database: Database
    ) -> None:
        await placed_database.run_as(
            OWNER,
            f"UPDATE kernels SET occupied_slots[1] = {2**50}, status = 'TERMINATED' WHERE id = {_ONE_KERNEL}",
        )
        assert await repository.count_overcommitted_agents(GROUP) == 0

    async def test_an_unknown_group_is_refused(self, repository: SchedulerRepository) -> None:
        with pytest.raises(ScalingGroupNotFound):
            await repository.count_overcommitted_agents(ScalingGroupName("nope"))
