"""No method sends a statement per entity: the number is the same for 1 and for many, and stands in a table."""

from collections.abc import AsyncIterator

import pytest

from scheduler_repo.database.engine import create_engine
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.api.public_methods import PUBLIC_METHODS
from tests.api.statement_table import CASES, Case, fill_table
from tests.api.world import World
from tests.support.databases import OWNER, Database
from tests.support.wire_proxy import WireProxy, proxied

fill_table()

FEW = 1
# A purge goes in batches, a transaction each: tests/retention counts its statements.
IN_BATCHES = {"RetentionRepository.purge"}
# A wait sends nothing: tests/waking counts what listens for all of them.
WITHOUT_STATEMENTS = {"SchedulerRepository.wait_for_changes"}


class TestStatementCounts:
    @pytest.fixture
    async def proxy(self, migrated_database: Database) -> AsyncIterator[WireProxy]:
        """Sees every statement on its way, those too of which the driver tells nobody, as COPY."""
        async with proxied(migrated_database.url_as(OWNER)) as proxy:
            yield proxy

    @pytest.fixture
    async def world(self, proxy: WireProxy) -> AsyncIterator[World]:
        # One connection, so that the driver asks for each type once.
        engine = create_engine(DatabaseSettings(url=SecretUrl(proxy.url), pool_size=1))
        world = World(engine)
        await world.settle()
        yield world
        await engine.dispose()

    async def cost(self, case: Case, world: World, proxy: WireProxy, size: int) -> tuple[int, int]:
        """The statements of one call, and the transactions."""
        call = await case.prepare(world, size)
        statements, transactions = proxy.statements, proxy.transactions
        await call
        return proxy.statements - statements, proxy.transactions - transactions

    @pytest.mark.parametrize("many", [4, pytest.param(100, marks=pytest.mark.slow)])
    async def test_is_the_same_for_one_and_for_many(self, world: World, proxy: WireProxy, many: int) -> None:
        counted = {}
        for case in CASES.values():
            await world.recover()
            # when
            few = await self.cost(case, world, proxy, FEW)
            if few != (case.statements, 1):
                # what the driver asks the server for the first time it meets a type is not counted
                few = await self.cost(case, world, proxy, FEW)
            counted[case.label] = (few, await self.cost(case, world, proxy, many))
        # then
        assert counted == {label: ((case.statements, 1),) * 2 for label, case in CASES.items()}

    def test_every_public_method_of_a_repository_is_counted(self) -> None:
        # given
        methods = {method.label for method in PUBLIC_METHODS if method.is_of_repository}
        # then
        assert {case.method for case in CASES.values()} | IN_BATCHES | WITHOUT_STATEMENTS == methods
