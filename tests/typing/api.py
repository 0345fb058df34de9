"""The public API as type checkers see it; mypy reads this, nothing runs it.

``assert_type`` says what an expression is; a ``type: ignore`` that is not needed is an error too, so each marks
something that must be refused.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Optional, assert_type

from scheduler_repo import (
    AgentId,
    AllocationResult,
    BestFitPlanner,
    CacheSettings,
    DatabaseSettings,
    DomainType,
    ExtendedAsyncSAEngine,
    HandOff,
    Kernel,
    Lease,
    LeaseHolder,
    LeaseKeeper,
    LoopState,
    MetricArgs,
    MetricPolicy,
    OperationId,
    OperationKind,
    Page,
    Repositories,
    Resilience,
    ScalingGroupName,
    SchedulerDBSource,
    SchedulerLoop,
    SchedulerRepository,
    SchedulingData,
    SecretUrl,
    Session,
    SessionAllocation,
    SessionDBSource,
    SessionFilter,
    SessionId,
    SessionInfo,
    SessionRepository,
    Tick,
    UndispatchedSession,
    embedded_repositories,
    open_repositories,
    retry_waits_disabled,
)


def opening(settings: DatabaseSettings, cache: CacheSettings, given: Mapping[str, object]) -> None:
    assert_type(open_repositories("postgresql://h/d"), AbstractAsyncContextManager[Repositories])
    open_repositories(SecretUrl("postgresql://h/d"), SecretUrl("redis://h"), pool_size=3, redis_timeout=0.1)
    open_repositories(database_url=settings, redis_url=cache)
    open_repositories("postgresql://h/d", pooler="transaction")
    open_repositories("postgresql://h/d", None)
    open_repositories()  # type: ignore[call-arg]
    open_repositories(7)  # type: ignore[arg-type]
    open_repositories(cache)  # type: ignore[arg-type]
    open_repositories(settings, settings)  # type: ignore[arg-type]
    open_repositories("postgresql://h/d", pool_sise=3)  # type: ignore[call-arg]
    open_repositories("postgresql://h/d", pool_size="3")  # type: ignore[arg-type]
    open_repositories("postgresql://h/d", pooler="statement")  # type: ignore[arg-type]


async def reading(
    repos: Repositories, session_id: SessionId, agent_id: AgentId, group: ScalingGroupName
) -> None:
    assert_type(await repos.sessions.get_session_by_id(session_id), Session)
    assert_type(await repos.sessions.find_session(session_id), Optional[Session])
    assert_type(await repos.sessions.search_sessions(SessionFilter()), Page[SessionInfo])
    assert_type(await repos.kernels.list_kernels_by_session(session_id), tuple[Kernel, ...])
    assert_type(await repos.scheduler.get_scheduling_data(group, max_staleness=2.0), SchedulingData)
    await repos.sessions.get_session_by_id(agent_id)  # type: ignore[arg-type]
    await repos.scheduler.get_scheduling_data("batch")  # type: ignore[arg-type]
    repos.sessions = repos.sessions  # type: ignore[misc]


async def writing(
    repos: Repositories,
    group: ScalingGroupName,
    plan: Sequence[SessionAllocation],
    lease: Lease,
    once: OperationId,
) -> None:
    allocated = await repos.scheduler.allocate_sessions(group, plan, lease=lease, operation_id=once)
    assert_type(allocated, AllocationResult)
    await repos.scheduler.allocate_sessions(group, plan, lease)  # type: ignore[call-arg]


class Dispatcher:
    async def dispatch(self, sessions: Sequence[UndispatchedSession]) -> Sequence[SessionId]:
        return [session.session_id for session in sessions]


class SlowDispatcher:
    def dispatch(self, sessions: Sequence[UndispatchedSession]) -> Sequence[SessionId]:
        return [session.session_id for session in sessions]


async def looping(repos: Repositories, group: ScalingGroupName) -> None:
    async with LeaseKeeper(repos.leases, group, LeaseHolder("me")) as keeper:
        loop = SchedulerLoop(repos.scheduler, BestFitPlanner(), group, lease_keeper=keeper)
        assert_type(await loop.tick(), Tick)
        await loop.run(asyncio.Event(), hand_off=HandOff(repos.lifecycle, Dispatcher()))
        assert_type(loop.state, LoopState)
        await loop.run(True)  # type: ignore[arg-type]
    HandOff(repos.lifecycle, SlowDispatcher())  # type: ignore[arg-type]
    SchedulerLoop(repos.scheduler, BestFitPlanner, group)  # type: ignore[arg-type]
    SchedulerLoop(repos.sessions, BestFitPlanner(), group)  # type: ignore[arg-type]


def wiring(engine: ExtendedAsyncSAEngine) -> None:
    assert_type(SessionRepository(SessionDBSource(engine)), SessionRepository)
    SessionRepository(SessionDBSource(engine), cache_source=None)
    SchedulerRepository(db_source=SchedulerDBSource(engine))
    SessionRepository(engine)  # type: ignore[arg-type]
    SessionRepository(SchedulerDBSource(engine))  # type: ignore[arg-type]
    SessionDBSource("postgresql://h/d")  # type: ignore[arg-type]


resilience = Resilience(policies=[MetricPolicy(MetricArgs(domain=DomainType.CLIENT, layer="agent_client"))])


class AgentClient:
    """A service of a user's own; the decorator keeps its methods' types."""

    @resilience.apply(OperationKind.READ)
    async def ask(self, address: str, *, seconds: float = 1.0) -> int:
        return len(address)


async def decorating(client: AgentClient) -> None:
    assert_type(await client.ask("10.0.0.1", seconds=2), int)
    await client.ask(7)  # type: ignore[arg-type]


async def testing() -> None:
    with retry_waits_disabled():
        async with embedded_repositories(pool_size=2) as repos:
            assert_type(repos, Repositories)
