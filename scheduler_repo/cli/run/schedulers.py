"""The schedulers of one process: a loop for each scaling group, on one engine."""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Final, Optional

import msgspec

from scheduler_repo.cli.process.logs import FIELDS
from scheduler_repo.connection import Repositories, open_repositories
from scheduler_repo.database.connecting import place_of
from scheduler_repo.errors import SchedulerRepoError
from scheduler_repo.leadership import LeaseKeeper
from scheduler_repo.loop.dispatching import Dispatcher, HandOff
from scheduler_repo.loop.pacing import RunSettings, Stopping
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.loop.state import LoopPhase, LoopState
from scheduler_repo.loop.sweeping import Sweeper
from scheduler_repo.loop.sweeps import Sweeps
from scheduler_repo.loop.tick import Tick
from scheduler_repo.metrics.endpoint import Health
from scheduler_repo.outages import describe_failure
from scheduler_repo.quoting import get_logger, quoted, shortened
from scheduler_repo.scheduling.planner.protocol import Planner
from scheduler_repo.settings import CacheSettings, DatabaseSettings
from scheduler_repo.types import LeaseHolder, ScalingGroupName

_logger = get_logger(__name__)

# A loop uses a connection for its ticks and one for its sweeps or its dispatcher; its lease must not wait.
_CONNECTIONS_PER_GROUP: Final = 2
_MORE_CONNECTIONS: Final = 3
# What ends after the loops: sweeps and dispatchers that are cancelled, leases, connections.
_END_SECONDS: Final = 10.0


def connections_for(groups: int) -> int:
    """How many connections the pool of a process with so many groups needs."""
    return _MORE_CONNECTIONS + _CONNECTIONS_PER_GROUP * groups


def make_holder() -> LeaseHolder:
    """Make a holder's name that no other process has: the host, the process, and what is drawn by lot."""
    return LeaseHolder(f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}")


class Schedulers:
    """Runs the loops of all groups until they are stopped, and says how they are."""

    def __init__(
        self,
        groups: Sequence[ScalingGroupName],
        *,
        make_planner: Callable[[], Planner],
        dispatcher: Optional[Dispatcher],
        dispatch_timeout: float,
        holder: LeaseHolder,
        lease_ttl: float,
        settings: RunSettings,
        sweeps: Sweeps,
    ) -> None:
        """Prepare to run; times are in seconds."""
        self._groups = groups
        self._make_planner = make_planner
        self._dispatcher = dispatcher
        self._dispatch_timeout = dispatch_timeout
        self._holder = holder
        self._lease_ttl = timedelta(seconds=lease_ttl)
        self._settings = settings
        self._sweeps = sweeps
        self._loops: dict[ScalingGroupName, SchedulerLoop] = {}
        self._given_up: set[ScalingGroupName] = set()

    @property
    def longest_end(self) -> float:
        """How many seconds a run may take to end when it is stopped."""
        return self._settings.stop_timeout + _END_SECONDS

    async def run(self, stop: asyncio.Event, database: DatabaseSettings, cache: Optional[CacheSettings]) -> int:
        """Run until ``stop`` is set, or until no loop goes on; return the exit code, 1 if one ended by itself.

        Raises the errors of ``open_repositories``; what ends one loop is logged, and the others go on.
        """
        names = ", ".join(map(quoted, self._groups))
        _logger.info("scheduling %s as %s, in %s", names, self._holder, place_of(database))
        if self._dispatcher is None:
            _logger.info("there is no dispatcher: agents are not told of what is placed")
        async with AsyncExitStack() as stack:
            opening = stack.enter_async_context(open_repositories(database, cache))
            repos = await Stopping(stop).give_up(opening)
            failed = 0 if repos is None else await self._run_loops(stop, repos)
        _logger.info("stopped" if stop.is_set() else "no group is left to schedule")
        return 1 if failed else 0

    async def _run_loops(self, stop: asyncio.Event, repos: Repositories) -> int:
        sweeper = Sweeper(
            repos.scheduler,
            agents=repos.agents,
            lifecycle=repos.lifecycle,
            audit=repos.audit,
            sweeps=self._sweeps,
        )
        runs = [self._run_loop(group, stop, repos, sweeper) for group in self._groups]
        return sum(await asyncio.gather(*runs))

    async def _run_loop(
        self,
        group: ScalingGroupName,
        stop: asyncio.Event,
        repos: Repositories,
        sweeper: Sweeper,
    ) -> bool:
        """Run one loop; return whether it ended by itself."""
        hand_off = None
        if self._dispatcher is not None:
            # One for each loop: what hangs holds up the calls of its own group.
            hand_off = HandOff(repos.lifecycle, self._dispatcher, timeout=self._dispatch_timeout)
        keeper = LeaseKeeper(repos.leases, group, self._holder, self._lease_ttl)
        try:
            loop = SchedulerLoop(repos.scheduler, self._make_planner(), group, lease_keeper=keeper)
            self._loops[group] = loop
            await loop.run(
                stop,
                settings=self._settings,
                sweeper=sweeper,
                hand_off=hand_off,
                on_tick=partial(log_tick, group),
            )
        except SchedulerRepoError as error:
            said = str(error)
        except Exception as error:  # noqa: BLE001 - whatever ends one loop, the others go on
            said = describe_failure(error)
        else:
            return False
        self._given_up.add(group)
        _logger.error("scaling group %s is given up by this process: %s", quoted(group), said)
        return True

    def states(self) -> list[LoopState]:
        """The states of the loops, in the order of the groups; callable from any thread."""
        return [self._state(group) for group in self._groups]

    def _state(self, group: ScalingGroupName) -> LoopState:
        if (loop := self._loops.get(group)) is not None:
            return loop.state
        state = LoopState.before_run(group)
        # Its planner may not even have been made.
        return msgspec.structs.replace(state, phase=LoopPhase.STOPPED) if group in self._given_up else state

    def readiness(self) -> Health:
        """Whether every group is led or waited for, and nothing hinders its ticks: what /readyz answers."""
        states = self.states()
        return Health(all(state.is_ready for state in states), _describe(states))

    def liveness(self) -> Health:
        """Whether every loop makes steps: what /healthz answers."""
        states = self.states()
        is_well = all(state.is_alive for state in states if state.scaling_group in self._loops)
        return Health(is_well, _describe(states))


def log_tick(group: ScalingGroupName, tick: Tick) -> None:
    """Log one line for a tick that placed something, or was refused something."""
    if not tick.allocated and not tick.rejected:
        return
    placed, refused = len(tick.allocated), len(tick.rejected)
    waiting = len(tick.data.pending_sessions) - placed
    milliseconds = {
        part: round(1000 * seconds, 1) for part, seconds in msgspec.structs.asdict(tick.times).items()
    }
    _logger.info(
        "scaling group %s: placed %d, refused %d, waiting %d; "
        "read %.1f, transform %.1f, plan %.1f, write %.1f ms",
        quoted(group),
        placed,
        refused,
        waiting,
        *milliseconds.values(),
        extra={
            FIELDS: {
                "scaling_group": group,
                "tick": tick.number,
                "placed": placed,
                "refused": refused,
                "waiting": waiting,
                "ms": milliseconds,
            }
        },
    )


def _describe(states: Sequence[LoopState]) -> str:
    """Write a line for each group; never what an error says, as anybody may ask."""
    return "".join(f"{_describe_state(state)}\n" for state in states)


def _describe_state(state: LoopState) -> str:
    failures = {
        "ticks": state.consecutive_errors,
        "dispatches": state.dispatch_errors,
        "sweeps": state.sweep_errors,
    }
    said = "".join(f", {count} {what} failed in a row" for what, count in failures.items() if count)
    return f"{shortened(state.scaling_group)}: {state.phase}{said}"
