"""Every write that takes a lease refuses one that does not hold, and writes nothing at all."""

import contextlib
import importlib
import inspect
import pkgutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final, NamedTuple, Union, get_type_hints

import msgspec
import pytest

import scheduler_repo.repositories
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.agent import AgentReport
from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.lifecycle import (
    LostSessionAction,
    SessionAttempt,
    SessionEnd,
    SessionRetry,
    SessionStart,
)
from scheduler_repo.entities.reservation import SessionReservation
from scheduler_repo.errors import InvalidInput, StaleLeaseError
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scaling_group.cache_source import ScalingGroupCacheSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.cache_source import SessionCacheSource
from scheduler_repo.types import AgentId, ScalingGroupName, SessionId, SessionStatus
from tests.lease.holders import ADA, AGENT, BOB, TTL
from tests.lease.observation import all_rows, expire
from tests.support.databases import DriverConnection
from tests.support.small_cluster import CPU, GROUP, MEM, OTHER_GROUP, kernel_id, place, session_id

# What to give for a parameter that has no default, by its type; session 0 is allocated, session 1 pends.
# A write that takes another type is found all the same, and its test says what is missing here.
ARGUMENTS: Final[dict[object, object]] = {
    ScalingGroupName: GROUP,
    Sequence[SessionId]: [session_id(0)],
    Sequence[Union[SessionId, SessionAttempt]]: [SessionAttempt(session_id(0), 0)],
    Sequence[SessionAllocation]: [place(1, AGENT)],
    Sequence[SessionStart]: [SessionStart(session_id(0))],
    Sequence[SessionEnd]: [SessionEnd(session_id(0))],
    Sequence[SessionRetry]: [SessionRetry(session_id(0))],
    Sequence[SessionAttempt]: [SessionAttempt(session_id(0), 0)],
    Sequence[SessionReservation]: [
        SessionReservation(session_id(1), (KernelAllocation(kernel_id(1), AgentId(AGENT)),))
    ],
    SessionId: session_id(0),
    SessionStatus: SessionStatus.PREPARING,
    bool: False,
    LostSessionAction: LostSessionAction.REQUEUE,
    Sequence[AgentId]: [AgentId(AGENT)],
    Sequence[AgentReport]: [AgentReport(AgentId(AGENT), {CPU: 20, MEM: 20})],
    timedelta: timedelta(microseconds=1),
}
# What keeps leases, and so takes them in another sense.
NOT_WRITES: Final = (LeaseRepository,)


class LeasedWrite(NamedTuple):
    """A public method that takes a lease."""

    repository: type
    name: str

    def __str__(self) -> str:
        return f"{self.repository.__name__}.{self.name}"

    async def call(self, engine: ExtendedAsyncSAEngine, lease: Lease) -> object:
        """Call it with a lease, on a repository made as its users make it."""
        # What a repository imports for type checkers only.
        names = {source.__name__: source for source in (SessionCacheSource, ScalingGroupCacheSource)}
        db_source = vars(self.repository).get("source_type")
        if db_source is None:
            db_source = get_type_hints(vars(self.repository)["__init__"], localns=names)["db_source"]
        method: Callable[..., Awaitable[object]] = getattr(self.repository(db_source(engine)), self.name)
        hints = get_type_hints(getattr(self.repository, self.name))
        given = {}
        for name, parameter in inspect.signature(method).parameters.items():
            if parameter.default is inspect.Parameter.empty:
                assert hints[name] in ARGUMENTS, f"{self}: add an argument of type {hints[name]} to ARGUMENTS"
                given[name] = ARGUMENTS[hints[name]]
        return await method(**given, lease=lease)


def leased_writes() -> Iterator[LeasedWrite]:
    """Every public method of every repository that takes a lease."""
    for found in pkgutil.walk_packages(scheduler_repo.repositories.__path__, "scheduler_repo.repositories."):
        if not found.name.endswith(".repository"):
            continue
        module = importlib.import_module(found.name)
        for _, repository in inspect.getmembers(module, inspect.isclass):
            if repository.__module__ != found.name or repository in NOT_WRITES:
                continue
            for name, method in inspect.getmembers(repository, inspect.iscoroutinefunction):
                if not name.startswith("_") and "lease" in inspect.signature(method).parameters:
                    yield LeasedWrite(repository, name)


WRITES: Final = tuple(leased_writes())


Loss = Callable[[LeaseRepository, DriverConnection, Lease], Awaitable[Lease]]


async def expired(_: LeaseRepository, owner: DriverConnection, lease: Lease) -> Lease:
    """Nobody took over."""
    await expire(owner)
    return lease


async def taken_over(leases: LeaseRepository, owner: DriverConnection, lease: Lease) -> Lease:
    await expire(owner)
    await leases.acquire_lease(GROUP, BOB, TTL)
    return lease


async def acquired_again(leases: LeaseRepository, _: DriverConnection, lease: Lease) -> Lease:
    """By the same holder, as after a restart."""
    await leases.acquire_lease(GROUP, ADA, TTL)
    return lease


async def released(leases: LeaseRepository, _: DriverConnection, lease: Lease) -> Lease:
    await leases.release_lease(lease)
    return lease


async def never_had(_: LeaseRepository, owner: DriverConnection, lease: Lease) -> Lease:
    await owner.execute("DELETE FROM scheduler_leases")
    return lease


async def of_another_holder(_: LeaseRepository, __: DriverConnection, lease: Lease) -> Lease:
    return msgspec.structs.replace(lease, holder=BOB)


async def of_a_later_epoch(_: LeaseRepository, __: DriverConnection, lease: Lease) -> Lease:
    return msgspec.structs.replace(lease, epoch=lease.epoch + 1)


LOSSES: Final = (
    expired,
    taken_over,
    acquired_again,
    released,
    never_had,
    of_another_holder,
    of_a_later_epoch,
)


class TestSignatures:
    def test_the_known_ones_are_found(self) -> None:
        names = {str(write) for write in WRITES}

        moves = {name for name in vars(LifecycleRepository) if not name.startswith("_")}
        moves -= {"list_undispatched_sessions", "source_type"}
        assert len(moves) >= 9
        assert names >= {f"LifecycleRepository.{name}" for name in moves}
        assert "SchedulerRepository.allocate_sessions" in names


class TestStaleLease:
    @pytest.fixture
    async def lease(self, engine: ExtendedAsyncSAEngine, leases: LeaseRepository) -> Lease:
        """Session 0 allocated, session 1 in the queue, and the lease that they may be moved under."""
        lease = await leases.acquire_lease(GROUP, ADA, TTL)
        await SchedulerRepository(SchedulerDBSource(engine)).allocate_sessions(
            GROUP, [place(0, AGENT)], lease=lease
        )
        return lease

    @pytest.mark.parametrize("lose", LOSSES)
    async def test_writes_nothing(
        self,
        engine: ExtendedAsyncSAEngine,
        leases: LeaseRepository,
        owner_connection: DriverConnection,
        lease: Lease,
        lose: Loss,
    ) -> None:
        # given
        stale = await lose(leases, owner_connection, lease)
        before = await all_rows(owner_connection)
        for write in WRITES:
            # when
            with pytest.raises(StaleLeaseError, match="nothing was written"):
                await write.call(engine, stale)
            # then
            assert await all_rows(owner_connection) == before, write

    @pytest.mark.parametrize("write", WRITES, ids=str)
    async def test_the_same_goes_through_with_one_that_holds(
        self,
        engine: ExtendedAsyncSAEngine,
        owner_connection: DriverConnection,
        lease: Lease,
        write: LeasedWrite,
    ) -> None:
        # given
        before = await all_rows(owner_connection)
        # when
        await write.call(engine, lease=lease)
        # then
        after = await all_rows(owner_connection)
        assert len(after["operations"]) == len(before["operations"]) + 1

    @pytest.mark.parametrize("write", WRITES, ids=str)
    async def test_what_is_no_lease_is_refused(
        self, unreachable: ExtendedAsyncSAEngine, write: LeasedWrite
    ) -> None:
        for given in (7, "one", (GROUP, ADA, 1)):
            with pytest.raises(InvalidInput, match="give what acquire_lease"):
                await write.call(unreachable, given)  # type: ignore[arg-type] # it is what is tested

    async def test_of_another_group(
        self,
        engine: ExtendedAsyncSAEngine,
        leases: LeaseRepository,
        owner_connection: DriverConnection,
        lease: Lease,
    ) -> None:
        """Refused where the write names its group, else each of its sessions is rejected."""
        # given
        other = await leases.acquire_lease(OTHER_GROUP, ADA, TTL)
        before = await all_rows(owner_connection)
        for write in WRITES:
            # when
            with contextlib.suppress(InvalidInput):
                await write.call(engine, lease=other)
            # then
            after = await all_rows(owner_connection)
            assert after | {"operations": []} == before | {"operations": []}, write
