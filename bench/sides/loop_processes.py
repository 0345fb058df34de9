"""Scheduler loops in processes of their own, one for each group, that start together when they are told to.

Run as a program, this module is such a process: it reads where to work from its first line of input and says
that it is connected; at each further line it places all that fits, and says how much that was.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final, Optional

import msgspec

from bench.data.place import Place
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.settings import SecretUrl
from scheduler_repo.types import ScalingGroupName

_BATCH: Final = 1_000
_GO: Final = "go\n"


class _Work(msgspec.Struct, frozen=True):
    """Where a process works; the URL may hold a password, so it comes by a pipe."""

    url: str
    schema: Optional[str]
    group: ScalingGroupName


class LoopProcesses:
    """A process for each of several groups of one place."""

    def __init__(self, place: Place, groups: Sequence[ScalingGroupName]) -> None:
        """Start nothing yet."""
        self._place = place
        self._groups = groups
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """Start all that do not run yet, and wait until each is connected and waits to be told to begin."""
        if self._processes:
            return
        for group in self._groups:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                __name__,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                # Ctrl-C is for whoever started this one, and ends it.
                start_new_session=True,
            )
            self._processes.append(process)
            work = _Work(self._place.url.reveal(), self._place.schema, group)
            _write(process, msgspec.json.encode(work))
        for process in self._processes:
            await _read(process)

    async def settle(self) -> int:
        """Have all of them place what fits, at the same time; return how many sessions they placed."""
        for process in self._processes:
            _write(process, _GO.strip().encode())
        return sum([int(await _read(process)) for process in self._processes])

    async def stop(self) -> None:
        """End all of them, whatever they do."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        self._processes.clear()


def _write(process: asyncio.subprocess.Process, line: bytes) -> None:
    if process.stdin is None:
        raise RuntimeError("the process was started without an input")
    process.stdin.write(line + b"\n")


async def _read(process: asyncio.subprocess.Process) -> bytes:
    if process.stdout is None:
        raise RuntimeError("the process was started without an output")
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("a process of a scheduler loop has ended early; its errors are above")
    return line


async def _work() -> None:
    work = msgspec.json.decode(sys.stdin.readline(), type=_Work)
    url = SecretUrl(work.url)
    async with Place(url, url, work.schema).engine() as engine:
        repository = SchedulerRepository(SchedulerDBSource(engine))
        loop = SchedulerLoop(repository, BestFitPlanner(), work.group, batch_size=_BATCH)
        # Connects, and fills the caches of this process.
        await repository.get_scheduling_data(work.group)
        print("ready", flush=True)
        # At the end of its input, whoever started this has gone.
        while sys.stdin.readline() == _GO:
            print(sum(len(tick.allocated) for tick in await loop.run_until_settled()), flush=True)


if __name__ == "__main__":
    import uvloop

    uvloop.run(_work())
