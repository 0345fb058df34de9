"""All sides of the writes, on one place; every turn is undone."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Optional, TypeVar

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.data.cluster import GROUP
from bench.data.place import Place
from bench.data.saved_state import SavedState
from bench.measure.results import ENGINE, FLOOR, PLAIN
from bench.measure.turns import Call, Side
from bench.sides.bare_writes import BareWrites, SlotAmounts
from bench.sides.plain_writes import beat_by_orm, end_by_orm, enqueue_by_orm, place_by_orm
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.kernel import KernelSpec
from scheduler_repo.entities.lifecycle import SessionEnd
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import AgentId, KernelId, SessionId, SlotName, SlotVector

BATCH: Final = 1_000
# The plain way does a part of a batch and is reckoned up: all of it would take many seconds a turn.
_PLAIN_BATCH: Final = 10
_PLAIN_TURNS: Final = 2
# Calls in a turn where each has one session.
SINGLES: Final = 10
_RUN: Final = (
    "UPDATE sessions SET status = 'RUNNING' WHERE id = ANY ($1::uuid[])",
    "UPDATE kernels SET status = 'RUNNING' WHERE session_id = ANY ($1::uuid[])",
)
T = TypeVar("T")


class PlannedBatch(msgspec.Struct, frozen=True):
    """Sessions of one snapshot that fit, where they go, as many new ones of their kind; the group's agents."""

    allocations: tuple[SessionAllocation, ...]
    specs: tuple[SessionCreationSpec, ...]
    agent_ids: tuple[AgentId, ...]
    slot_names: tuple[SlotName, ...]
    requests: Mapping[KernelId, SlotVector]

    @classmethod
    def of(cls, data: SchedulingData, count: Optional[int] = BATCH) -> "PlannedBatch":
        """Plan at most ``count`` sessions of a queue, None for all that fit."""
        allocations = BestFitPlanner(max_allocations=count).plan(data)
        slot_names = tuple(slot_type.name for slot_type in data.slot_types)
        return cls(
            tuple(allocations),
            tuple(
                _new_session(number, session, slot_names)
                for number, session in enumerate(data.pending_sessions[: len(allocations)])
            ),
            tuple(agent.agent_id for agent in data.agents),
            slot_names,
            {
                kernel.kernel_id: kernel.requested_slots
                for each in data.pending_sessions
                for kernel in each.kernels
            },
        )

    def slots_of(self, allocations: Sequence[SessionAllocation]) -> SlotAmounts:
        """Sum up what allocations add to each agent."""
        slots: SlotAmounts = Counter()
        for allocation in allocations:
            for placed in allocation.kernels:
                for name, amount in zip(self.slot_names, self.requests[placed.kernel_id], strict=False):
                    slots[placed.agent_id, name] += amount
        return slots


class Writers:
    """Writes to the group that is measured, in one call or in several, and has each turn undone."""

    def __init__(
        self, engine: ExtendedAsyncSAEngine, plain_engine: AsyncEngine, bare: BareWrites, saved: SavedState
    ) -> None:
        """Made by ``open_writers``."""
        self.scheduler = SchedulerRepository(SchedulerDBSource(engine))
        self.sessions = SessionRepository(SessionDBSource(engine))
        self.lifecycle = LifecycleRepository(LifecycleDBSource(engine))
        self.agents = AgentRepository(AgentDBSource(engine))
        self.bare = bare
        self._plain_engine = plain_engine
        self._saved = saved

    def allocate(self, batch: PlannedBatch, calls: Sequence[Sequence[SessionAllocation]]) -> dict[str, Side]:
        """Return the sides of placing sessions; times are of one call."""
        bare_calls = [(call, batch.slots_of(call)) for call in calls]

        async def by_engine() -> None:
            for call in calls:
                result = await self.scheduler.allocate_sessions(GROUP, call)
                check_all(len(result.allocated), call)

        async def by_driver() -> None:
            for call, slots in bare_calls:
                await self.bare.place(call, slots)

        few = [each for call in calls for each in call][:_PLAIN_BATCH]

        async def by_orm() -> None:
            check_all(await place_by_orm(self._plain_engine, few, batch.slot_names), few)

        return _sides(by_driver, by_engine, by_orm, self._saved.restore, calls, few)

    def enqueue(self, batch: PlannedBatch, calls: Sequence[Sequence[SessionCreationSpec]]) -> dict[str, Side]:
        """Return the sides of creating sessions; times are of one call."""

        async def by_engine() -> None:
            for call in calls:
                check_all(len(await self.sessions.enqueue_sessions(call)), call)

        async def by_driver() -> None:
            for call in calls:
                await self.bare.enqueue(call, batch.slot_names)

        few = [each for call in calls for each in call][:_PLAIN_BATCH]

        async def by_orm() -> None:
            check_all(await enqueue_by_orm(self._plain_engine, few, batch.slot_names), few)

        created = [spec.session_id for call in calls for spec in call]

        async def undo() -> None:
            await self._saved.restore(created)

        return _sides(by_driver, by_engine, by_orm, undo, calls, few)

    def end(self, batch: PlannedBatch, calls: Sequence[Sequence[SessionAllocation]]) -> dict[str, Side]:
        """Return the sides of ending sessions that run where the batch placed them; times are of one call."""
        bare_calls = [(call, batch.slots_of(call)) for call in calls]
        ends = [[SessionEnd(each.session_id) for each in call] for call in calls]

        async def by_engine() -> None:
            for call in ends:
                check_all(len((await self.lifecycle.mark_terminated(call)).changed), call)

        async def by_driver() -> None:
            for call, slots in bare_calls:
                await self.bare.end(call, slots)

        few = [each.session_id for call in calls for each in call][:_PLAIN_BATCH]

        async def by_orm() -> None:
            check_all(await end_by_orm(self._plain_engine, few, batch.slot_names), few)

        return _sides(by_driver, by_engine, by_orm, self._saved.restore, calls, few)

    def beat(self, batch: PlannedBatch) -> dict[str, Side]:
        """Return the sides of noting that all agents of the group were heard of."""
        agent_ids = batch.agent_ids

        async def by_engine() -> None:
            await self.agents.record_heartbeats(agent_ids)

        async def by_driver() -> None:
            await self.bare.beat(agent_ids)

        few = agent_ids[:_PLAIN_BATCH]

        async def by_orm() -> None:
            check_all(await beat_by_orm(self._plain_engine, few), few)

        return _sides(by_driver, by_engine, by_orm, None, [agent_ids], few)


@asynccontextmanager
async def open_writers(place: Place, saved: SavedState) -> AsyncIterator[Writers]:
    """Connect every side to a place whose state is saved."""
    async with place.engine() as engine, place.plain_engine() as plain, place.driver() as driver:
        yield Writers(engine, plain, BareWrites(driver), saved)


async def have_them_run(place: Place, batch: PlannedBatch) -> None:
    """Have the sessions of a batch run where they were planned, as if they had been placed and started."""
    async with place.administering() as driver:
        await BareWrites(driver).place(batch.allocations, batch.slots_of(batch.allocations))
        session_ids: list[SessionId] = [each.session_id for each in batch.allocations]
        for statement in _RUN:
            await driver.execute(statement, session_ids)
        await driver.execute("VACUUM (ANALYZE) sessions, kernels, agent_slots, agents")


def in_one_call(items: Sequence[T]) -> list[Sequence[T]]:
    """Give all to one call."""
    return [items]


def one_by_one(items: Sequence[T]) -> list[Sequence[T]]:
    """Give the first few a call each."""
    return [[item] for item in items[:SINGLES]]


def check_all(count: int, asked: Sequence[object]) -> None:
    """Raise RuntimeError if less was done than asked for: the turn would not be comparable."""
    if count != len(asked):
        raise RuntimeError(f"a side did {count} of {len(asked)}, so that its time cannot be compared")


def _sides(
    by_driver: Call,
    by_engine: Call,
    by_orm: Call,
    undo: Optional[Call],
    calls: Sequence[Sequence[object]],
    few: Sequence[object],
) -> dict[str, Side]:
    """Put the sides together; ``few`` is the part that the plain way does."""
    of_one_call = 1 / len(calls)
    of_few = sum(map(len, calls)) / len(few) * of_one_call
    return {
        FLOOR: Side(by_driver, after=undo, parts=of_one_call),
        ENGINE: Side(by_engine, after=undo, parts=of_one_call),
        PLAIN: Side(by_orm, after=undo, parts=of_few, turns=_PLAIN_TURNS),
    }


def _new_session(number: int, model: PendingSession, slot_names: Sequence[SlotName]) -> SessionCreationSpec:
    return SessionCreationSpec(
        name=f"turn-{number}",
        scaling_group=GROUP,
        access_key=model.access_key,
        user_id=model.user_id,
        project_id=model.project_id,
        domain_name=model.domain_name,
        cluster_mode=model.cluster_mode,
        kernels=tuple(
            KernelSpec(requested_slots=dict(zip(slot_names, kernel.requested_slots, strict=False)))
            for kernel in model.kernels
        ),
    )


async def read_queue(place: Place) -> SchedulingData:
    """Read the state of the group that is measured, once."""
    async with place.engine() as engine:
        return await SchedulerRepository(SchedulerDBSource(engine)).get_scheduling_data(GROUP)
