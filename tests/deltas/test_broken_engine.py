"""A broken engine breaks the law within few steps: the machine behind it would notice.

What each took of steps (``-rP`` shows it): 2 to 100 for most, 150 to 500 for a changed key, an emptied table, a
rising priority and two refreshes at a time.
"""

import asyncio
from typing import Final

import pytest
import uvloop

from tests.deltas.breaks import BREAKS
from tests.deltas.history import first_breach
from tests.deltas.world import World
from tests.support.databases import Database

# Many times what any was seen to take.
_MOST_STEPS: Final = 20_000


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", BREAKS)
def test_a_break_is_noticed(name: str, fresh_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        world = World(fresh_database)
        runner.run(world.open())
        try:
            runner.run(BREAKS[name].make(monkeypatch, world.writers[0]))
            steps, breach = first_breach(runner, world, _MOST_STEPS, 60)
        finally:
            runner.run(world.close())
    print(f"{name}: noticed after {steps} steps")
    assert breach is not None
