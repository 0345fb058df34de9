"""The totals of a group from the cache are never older than was allowed."""

import asyncio

import pytest
import redis.asyncio as redis_asyncio

from scheduler_repo.cache.metrics import CacheOutcome
from scheduler_repo.errors import InvalidInput, ScalingGroupNotFound
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.types import ScalingGroupName
from tests.cache.world import World
from tests.support.databases import OWNER
from tests.support.small_cluster import GROUP
from tests.support.wire_proxy import Point, Side

# A part of the statement that sums the slots of a group's agents.
_STATEMENT = "agent_slots"


class TestTotals:
    @pytest.fixture
    def repository(self, process: World) -> ScalingGroupRepository:
        return ScalingGroupRepository(process.group_source, process.groups)

    async def test_zero_always_asks_the_database(
        self, process: World, repository: ScalingGroupRepository
    ) -> None:
        # Given totals in the cache
        first = await repository.get_total_resource_slots(GROUP)
        await process.groups.drain()
        await process.change()

        # When no staleness is allowed
        second = await repository.get_total_resource_slots(GROUP)
        await process.groups.drain()

        # Then they are the database's, and what is read is kept for those that allow some
        assert second.capacity[0] == first.capacity[0] + 2
        assert await repository.get_total_resource_slots(GROUP, 30) == second
        assert process.groups.outcomes == {CacheOutcome.HIT: 1}

    async def test_a_hit_runs_no_statement(self, process: World, repository: ScalingGroupRepository) -> None:
        stored = await repository.get_total_resource_slots(GROUP)
        await process.groups.drain()
        before = process.sql_proxy.statements

        assert await repository.get_total_resource_slots(GROUP, 30) == stored
        assert process.sql_proxy.statements == before

    async def test_what_is_too_old_is_read_again(
        self, process: World, repository: ScalingGroupRepository
    ) -> None:
        await repository.get_total_resource_slots(GROUP)
        await process.groups.drain()
        await process.change()
        await asyncio.sleep(0.05)

        found = await repository.get_total_resource_slots(GROUP, 0.05)

        assert found.capacity == (await process.group_source.get_total_resource_slots(GROUP)).capacity
        assert process.groups.outcomes == {CacheOutcome.TOO_OLD: 1}

    async def test_what_the_read_took_counts(self, process: World, repository: ScalingGroupRepository) -> None:
        # Given an entry whose read took its time
        hold = process.sql_proxy.hold(Point.FETCH, Side.ANSWER, _STATEMENT)
        read = asyncio.create_task(repository.get_total_resource_slots(GROUP))
        await hold.reached(read)
        await asyncio.sleep(0.05)
        hold.release()
        await read
        await process.groups.drain()

        # When nothing so old is wanted
        await repository.get_total_resource_slots(GROUP, 0.05)

        # Then it is too old, though it was stored just now
        assert process.groups.outcomes == {CacheOutcome.TOO_OLD: 1}

    async def test_who_comes_too_late_for_a_read_asks_by_itself(
        self, process: World, repository: ScalingGroupRepository
    ) -> None:
        # Given a read in progress, and a change since
        await process.reads[1].read_other()
        hold = process.sql_proxy.hold(Point.FETCH, Side.ANSWER, _STATEMENT)
        early = asyncio.create_task(repository.get_total_resource_slots(GROUP, 0.1))
        await hold.reached(early)
        await process.change()
        await asyncio.sleep(0.15)

        # When another caller allows less staleness than that read's age
        late = asyncio.create_task(repository.get_total_resource_slots(GROUP, 0.1))
        await asyncio.sleep(0)
        hold.release()

        # Then it gets a newer answer
        assert (await late).capacity[0] == (await early).capacity[0] + 2

    async def test_unknown_group(self, repository: ScalingGroupRepository) -> None:
        with pytest.raises(ScalingGroupNotFound, match="nowhere"):
            await repository.get_total_resource_slots(ScalingGroupName("nowhere"), 30)

    @pytest.mark.parametrize("max_staleness", [-1.0, float("nan"), float("inf"), True, "1"])
    async def test_a_staleness_that_is_none_is_refused_before_any_query(
        self, process: World, repository: ScalingGroupRepository, max_staleness: float
    ) -> None:
        with pytest.raises(InvalidInput, match="max_staleness"):
            await repository.get_total_resource_slots(GROUP, max_staleness)
        assert process.sql_proxy.statements == 0

    @pytest.mark.parametrize("name", [7, None, "a\0b", "\ud800"])
    async def test_a_name_that_is_none_is_refused_before_any_query(
        self, process: World, repository: ScalingGroupRepository, name: ScalingGroupName
    ) -> None:
        with pytest.raises(InvalidInput):
            await repository.get_total_resource_slots(name, 30)
        assert process.sql_proxy.statements == 0

    async def test_sums_above_64_bits_are_answered_and_kept(
        self, process: World, repository: ScalingGroupRepository, shared_redis: redis_asyncio.Redis
    ) -> None:
        # Given agents that together have more than 64 bits can hold
        await process.database.run_as(
            OWNER,
            "INSERT INTO agents (id, scaling_group, address, architecture) "
            f"SELECT 'large-' || n, '{GROUP}', 'tcp://large', 'x86_64' FROM generate_series(1, 4) AS n;"
            "INSERT INTO agent_slots (agent_id, slot_name, capacity) "
            f"SELECT 'large-' || n, 'cpu', {2**63 - 1} FROM generate_series(1, 4) AS n",
        )

        # When they are summed
        totals = await repository.get_total_resource_slots(GROUP, 30)
        await process.groups.drain()

        # Then exactly, and again from the cache
        assert totals.capacity[0] == 4 * (2**63 - 1) + 20
        assert await shared_redis.exists(process.reads[1].key)
        assert (await repository.get_total_resource_slots(GROUP, 30)).capacity == totals.capacity
