"""All sides of one tick, after the same changes every time; every turn is undone."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from statistics import median
from time import perf_counter
from typing import Final, Optional

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.data.cluster import GROUP
from bench.data.place import Place
from bench.data.saved_state import SavedState
from bench.measure.results import ENGINE, FLOOR, PLAIN, CaseResult
from bench.measure.turns import PartlyDone, Side, Times
from bench.sides.bare_writes import BareWrites, SlotAmounts
from bench.sides.driver_reads import DriverReads
from bench.sides.plain_reads import read_by_orm
from bench.sides.plain_writes import place_by_orm
from bench.sides.refreshers import FULL
from bench.sides.writers import BATCH, PlannedBatch
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.lifecycle import SessionEnd
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.loop.tick import TickTimes
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.planner.protocol import IncrementalPlanner, Planner
from scheduler_repo.types import ScalingGroupName, SessionId

# A tick that reads and plans everything takes many times as long, and varies as little.
_FULL_TURNS: Final = 5
# The plain way places these and is reckoned up.
_PLAIN_BATCH: Final = 10


class Changes(msgspec.Struct, frozen=True):
    """What happens before a tick: sessions come, and others end."""

    created: tuple[SessionCreationSpec, ...] = ()
    ended: tuple[SessionId, ...] = ()

    @property
    def count(self) -> int:
        """How many sessions change."""
        return len(self.created) + len(self.ended)


class _Planned(msgspec.Struct, frozen=True):
    """What one tick reads and places, worked out before the clock starts."""

    reads: DriverReads
    calls: list[tuple[tuple[SessionAllocation, ...], SlotAmounts]]
    batch: PlannedBatch


class Tickers:
    """Ticks of the group that is measured, each after the same changes."""

    def __init__(
        self,
        engine: ExtendedAsyncSAEngine,
        plain_engine: AsyncEngine,
        driver: "asyncpg.Connection[asyncpg.Record]",
        saved: SavedState,
        changes: Changes,
        group: ScalingGroupName,
        planner: Planner,
    ) -> None:
        """Made by ``open_tickers``."""
        self._group = group
        self._scheduler = SchedulerRepository(SchedulerDBSource(engine))
        self._sessions = SessionRepository(SessionDBSource(engine))
        self._lifecycle = LifecycleRepository(LifecycleDBSource(engine))
        self._tracker = self._scheduler.make_tracker()
        self._planner = planner
        self._loop = SchedulerLoop(self._scheduler, planner, group, batch_size=BATCH, tracker=self._tracker)
        self._full_loop = SchedulerLoop(
            self._scheduler, BestFitPlanner(), group, batch_size=BATCH, full_reads=True
        )
        self._plain_engine = plain_engine
        self._driver = driver
        self._saved = saved
        self._changes = changes
        self._planned: list[_Planned] = []
        self._times: list[TickTimes] = []
        self._full_times: list[TickTimes] = []
        self._placed = 0

    def sides(self) -> dict[str, Side]:
        """Return the sides; to plan is the engine's alone, the others know what to place."""
        return {
            FLOOR: Side(self.run_bare, before=self.change_and_plan, after=self._undo),
            ENGINE: Side(self._tick, before=self._change_behind, after=self._undo),
            PLAIN: Side(self.run_plainly, before=self.change_and_plan, after=self._undo, turns=1),
        }

    def sides_of_a_first(self) -> dict[str, Side]:
        """Return the sides where nothing is held of an earlier tick."""
        return {**self.sides(), ENGINE: Side(self._tick, before=self._forget_and_change, after=self._undo)}

    def figures(self, times: Mapping[str, Times], earlier: Mapping[str, CaseResult]) -> dict[str, float]:
        """Say what changed, what a tick placed, and how long each of its phases took; the warm-up aside.

        Where one that reads and plans everything was measured: how many times as long that takes, the writes of
        both aside.
        """
        counted = self._times[1:]
        phases = {
            f"{phase}_ms": median(getattr(taken, phase) for taken in counted) * 1000
            for phase in TickTimes.__struct_fields__
        }
        found = {"changes": self._changes.count, "placed": self._placed, **phases}
        if self._full_times[1:]:
            decided, in_full = (median(map(_until_write, each[1:])) for each in (self._times, self._full_times))
            found |= {
                "read_and_plan_ms": decided * 1000,
                "full_read_and_plan_ms": in_full * 1000,
                "read_and_plan_speedup_over_full": in_full / decided,
            }
        return found

    def sides_with_full(self) -> dict[str, Side]:
        """Return the sides beside a tick that reads everything and plans from everything."""
        full = Side(self._tick_fully, before=self._change, after=self._undo, turns=_FULL_TURNS)
        return {**self.sides(), FULL: full}

    async def _tick_fully(self) -> None:
        self._full_times.append((await self._full_loop.tick()).times)

    async def _tick(self) -> None:
        tick = await self._loop.tick()
        self._times.append(tick.times)
        self._placed = len(tick.allocated)

    async def _change(self) -> None:
        if self._changes.created:
            await self._sessions.enqueue_sessions(self._changes.created)
        if self._changes.ended:
            await self._lifecycle.mark_terminated([*map(SessionEnd, self._changes.ended)])

    async def _change_behind(self) -> None:
        """Have the changes happen behind the loop's last answer, as between two of its ticks."""
        # Other sides have placed sessions of the group, and have put them back: so much that a planner may
        # remember nothing before its next plan.
        for _ in range(2):
            refresh = await self._tracker.get_scheduling_data(self._group)
            if isinstance(self._planner, IncrementalPlanner):
                self._planner.plan_changes(refresh)
        await self._change()

    async def _forget_and_change(self) -> None:
        """Have the changes happen before the first tick of a loop."""
        self._tracker.forget(self._group)
        if isinstance(self._planner, IncrementalPlanner):
            self._planner.forget(self._group)
        await self._change()

    async def _undo(self) -> None:
        await self._saved.restore([spec.session_id for spec in self._changes.created])

    async def change_and_plan(self) -> None:
        """Have the changes happen, and work out what the floor and the plain way place."""
        await self._change()
        batch = PlannedBatch.of(await self._scheduler.get_scheduling_data(self._group), None)
        placed = batch.allocations
        calls = [placed[start : start + BATCH] for start in range(0, len(placed), BATCH)]
        reads = await DriverReads.prepare(self._driver, self._group)
        self._planned = [_Planned(reads, [(call, batch.slots_of(call)) for call in calls], batch)]

    async def run_bare(self) -> None:
        """Read and place by the driver alone."""
        (planned,) = self._planned
        await planned.reads.fetch()
        for call, slots in planned.calls:
            await BareWrites(self._driver).place(call, slots)

    async def run_plainly(self) -> PartlyDone:
        """Read and place the plain way, a part of it."""
        (planned,) = self._planned
        await read_by_orm(self._plain_engine, self._group)
        placed = planned.batch.allocations
        few = placed[:_PLAIN_BATCH]
        started = perf_counter()
        await place_by_orm(self._plain_engine, few, planned.batch.slot_names)
        return PartlyDone(perf_counter() - started, len(placed) / len(few) if few else 1)


def _until_write(times: TickTimes) -> float:
    return times.read + times.transform + times.plan


@asynccontextmanager
async def open_tickers(
    place: Place,
    saved: SavedState,
    changes: Changes,
    group: ScalingGroupName = GROUP,
    planner: Optional[Planner] = None,
) -> AsyncIterator[Tickers]:
    """Connect every side to a group of a place whose state is saved; without ``planner`` it is best fit."""
    async with place.engine() as engine, place.plain_engine() as plain, place.driver() as driver:
        yield Tickers(engine, plain, driver, saved, changes, group, planner or BestFitPlanner())
