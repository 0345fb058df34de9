"""The law of refreshes: what was read, and what changed since, are what a full read gives, always.

Some steps in each run, hundreds with ``--hypothesis-profile thorough``, thousands with ``-m slow``; as many as
you like with ``-m slow --law-steps 100000``.
"""

import asyncio
from collections.abc import Iterator

import hypothesis
import pytest
import uvloop

from tests.deltas.history import run_histories
from tests.deltas.world import World
from tests.support.databases import Database
from tests.support.own_server import own_database


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


class TestLaw:
    def test_short(self, runner: asyncio.Runner, fresh_database: Database, redis_url: str) -> None:
        world = World(fresh_database, redis_url)
        runner.run(world.open())
        try:
            examples = hypothesis.settings().max_examples
            driven = run_histories(runner, world, 2 * examples, 20)
        finally:
            runner.run(world.close())
        assert driven > 0
        assert world.outcomes["changes"] > 0

    @pytest.mark.slow
    @pytest.mark.timeout(7_200)
    def test_long(self, runner: asyncio.Runner, redis_url: str, request: pytest.FixtureRequest) -> None:
        steps = request.config.getoption("law_steps")
        servers = own_database({"max_prepared_transactions": "10"})
        _, database = runner.run(servers.__aenter__())
        world = World(database, redis_url, has_two_phases=True)
        runner.run(world.open())
        try:
            driven = run_histories(runner, world, steps, 60)
        finally:
            runner.run(world.close())
            runner.run(servers.__aexit__(None, None, None))
        # Three quarters by chance, and dozens of each reason; with hardly any it would show nothing.
        assert world.outcomes["changes"] > driven / 4
        if driven > 1_000:
            assert {"everything", "trimmed", "triggers_changed", "preemption_changed"} <= set(world.outcomes)
