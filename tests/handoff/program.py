"""A dispatcher in a process of its own, which takes one step for each line that it reads.

The steps are ``allocate NUMBER ...``, ``list``, ``tell COUNT`` (of the sessions listed) and ``mark``. It says
``done`` after each, and before that a line for each kernel that an agent is to start.
"""

import asyncio
import sys
from collections.abc import Sequence

from scheduler_repo.database.engine import create_engine
from scheduler_repo.entities.lifecycle import UndispatchedSession
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.handoff.agents import Agents, Dispatcher, starts_of


async def run(url: str) -> None:
    """Take steps until the input ends."""
    engine = create_engine(DatabaseSettings(url=SecretUrl(url), pool_size=1))
    dispatcher = Dispatcher(engine, Agents())
    listed: Sequence[UndispatchedSession] = ()
    while line := await asyncio.to_thread(sys.stdin.readline):
        step, *arguments = line.split()
        if step == "allocate":
            await dispatcher.allocate([int(number) for number in arguments])
        elif step == "list":
            listed = await dispatcher.list()
        elif step == "tell":
            for attempt in listed[: int(arguments[0])]:
                for start in starts_of(attempt):
                    print("start", *start, flush=True)
        elif step == "mark":
            await dispatcher.mark(listed)
        print("done", flush=True)
    await engine.dispose()


def main(url: str) -> None:
    """Run until the input ends."""
    asyncio.run(run(url))
