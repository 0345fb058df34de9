"""No write of a batch works through it in one piece: the event loop turns meanwhile, however long it is."""

from collections.abc import AsyncIterator
from typing import Final

import pytest

from scheduler_repo.database.engine import create_engine
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.api.public_methods import BATCHES
from tests.api.statement_table import CASES, Case, fill_table
from tests.api.world import World
from tests.support.databases import OWNER, Database
from tests.support.loop_blocks import Blocks, watch_blocks

fill_table()

# Writes of many rows that are given no list of them.
OF_MANY: Final = {
    "AgentRepository.mark_lost_agents",
    "AuditRepository.repair_counters",
    "ClusterRepository.load_cluster",
    "LifecycleRepository.recover_lost_sessions",
    "LifecycleRepository.sweep_pending_sessions",
    "OwnerRepository.register_owners",
}
# A cluster has 64 slot types at the most.
NEVER_MANY: Final = {"ScalingGroupRepository.register_slot_types"}
BATCH_WRITES: Final = (OF_MANY | {method.label for method, _ in BATCHES}) - NEVER_MANY
BATCH: Final = 1_500
# The measure of all others, and the part of its time for which none may block the loop. An allocation whose
# gate decides in one piece blocks it for half of that time.
MEASURE: Final = CASES["SchedulerRepository.allocate_sessions"]
MOST: Final = 0.15
TRIES: Final = 3


class TestWrites:
    @pytest.fixture
    async def world(self, migrated_database: Database) -> AsyncIterator[World]:
        engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(OWNER))))
        world = World(engine)
        await world.settle()
        yield world
        await engine.dispose()

    async def watch(self, case: Case, world: World) -> Blocks:
        await world.recover()
        return await watch_blocks(await case.prepare(world, BATCH))

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    async def test_no_batch_blocks_the_loop_for_long(self, world: World) -> None:
        # given
        writes = [case for case in CASES.values() if case.method in BATCH_WRITES]
        assert {case.method for case in writes} == BATCH_WRITES
        # the first call prepares its statements
        most = MOST * min([(await self.watch(MEASURE, world)).total for _ in range(TRIES)])
        for case in writes:
            # when
            longest = [(await self.watch(case, world)).longest]
            while min(longest) > most and len(longest) < TRIES:
                longest.append((await self.watch(case, world)).longest)
            # then
            assert min(longest) <= most, f"{case.label}: {min(longest) / most:.1f} times as long"
