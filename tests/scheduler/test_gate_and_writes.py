"""Batches are placed in part, with a reason for each session that is not, and given back whole."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from scheduler_repo.entities.allocation import (
    AllocationResult,
    KernelAllocation,
    RejectedAllocation,
    RejectionCode,
    SessionAllocation,
)
from scheduler_repo.entities.obstacles import (
    AgentObstacle,
    ArchitectureMismatch,
    ContainerShortage,
    NotDesignated,
    OwnerBreach,
    QuotaBreach,
    QuotaKind,
    SlotShortage,
    StartNotReached,
)
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.scheduling_data import SessionDependency
from scheduler_repo.errors import InvalidInput, ScalingGroupNotFound
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import (
    AgentId,
    ClusterMode,
    KernelId,
    OwnerScope,
    ScalingGroupName,
    SessionStatus,
)
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import (
    ARM,
    CLOSED_GROUP,
    CPU,
    GROUP,
    OTHER_GROUP,
    OWNER_IDS,
    X86,
    Ledger,
    agent,
    cluster,
    held_on,
    history_of,
    kernel_id,
    ledger_of,
    place,
    session,
    session_id,
    status_of,
)

A1, A2 = AgentId("a1"), AgentId("a2")
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
EMPTY = Ledger(0, 0, 0)


def rejected(
    number: int, code: RejectionCode, agent_id: object = None, detail: object = None
) -> RejectedAllocation:
    return RejectedAllocation(session_id(number), code, agent_id, detail)  # type: ignore[arg-type]


class TestRejections:
    """In each the batch holds a session that can be placed, 1, which is; and one that cannot, 2."""

    @pytest.fixture(autouse=True)
    async def nothing_of_the_rejected_is_kept(self, owner_connection: DriverConnection) -> AsyncIterator[None]:
        yield
        assert await status_of(owner_connection, 1) == ("SCHEDULED", {"SCHEDULED"})
        assert await ledger_of(owner_connection, A1) == Ledger(1, 1, 1)
        assert await held_on(owner_connection, A1) == Ledger(1, 1, 1)
        held = await owner_connection.fetchval("SELECT count(*) FROM kernels WHERE status = 'SCHEDULED'")
        assert held == 1

    async def test_duplicate(self, load: Load, scheduler: SchedulerRepository) -> None:
        # given
        await load(cluster([agent(A1)], [session(1, 1)]))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(1, A1), place(1, A1)])
        # then
        assert (result.allocated, result.rejected) == (
            (session_id(1),),
            (rejected(1, RejectionCode.DUPLICATE),),
        )

    async def test_unknown_session(self, load: Load, scheduler: SchedulerRepository) -> None:
        # given
        await load(cluster([agent(A1)], [session(1, 1)]))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(2, A1), place(1, A1)])
        # then
        assert (result.allocated, result.rejected) == (
            (session_id(1),),
            (rejected(2, RejectionCode.SESSION_UNKNOWN),),
        )

    async def test_session_of_another_group(self, load: Load, scheduler: SchedulerRepository) -> None:
        # given
        await load(cluster([agent(A1)], [session(1, 1), session(2, 1, scaling_group=OTHER_GROUP)]))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(2, A1), place(1, A1)])
        # then
        assert (result.allocated, result.rejected) == (
            (session_id(1),),
            (rejected(2, RejectionCode.OTHER_GROUP),),
        )

    async def test_inactive_group(self, load: Load, scheduler: SchedulerRepository) -> None:
        # given
        sessions = [session(1, 1), session(2, 1, scaling_group=CLOSED_GROUP)]
        await load(cluster([agent(A1), agent(A2, scaling_group=CLOSED_GROUP)], sessions))
        await scheduler.allocate_sessions(GROUP, [place(1, A1)])
        # when
        result = await scheduler.allocate_sessions(CLOSED_GROUP, [place(2, A2)])
        # then
        assert (result.allocated, result.rejected) == ((), (rejected(2, RejectionCode.GROUP_INACTIVE),))

    @pytest.mark.parametrize("status", [one for one in SessionStatus if one is not SessionStatus.PENDING])
    async def test_session_that_is_no_longer_pending(
        self,
        load: Load,
        scheduler: SchedulerRepository,
        owner_connection: DriverConnection,
        status: SessionStatus,
    ) -> None:
        # given
        await load(cluster([agent(A1)], [session(1, 1), session(2, 1)]))
        await owner_connection.execute(
            "UPDATE sessions SET status = $2 WHERE id = $1", session_id(2), status.value
        )
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(2, A1), place(1, A1)])
        # then
        assert (result.allocated, result.rejected) == (
            (session_id(1),),
            (rejected(2, RejectionCode.NOT_PENDING, detail=status),),
        )

    @pytest.mark.parametrize(
        "kernels",
        [
            (),
            (kernel_id(2),),
            (kernel_id(2), kernel_id(2, 1), kernel_id(1)),
            (kernel_id(2), kernel_id(2)),
            (kernel_id(2), kernel_id(1)),
            (kernel_id(2), KernelId(UUID(int=9))),
        ],
    )
    async def test_other_kernels(
        self, load: Load, scheduler: SchedulerRepository, kernels: tuple[KernelId, ...]
    ) -> None:
        # given
        await load(cluster([agent(A1)], [session(1, 1), session(2, 1, 1)]))
        allocation = SessionAllocation(session_id(2), tuple(KernelAllocation(one, A1) for one in kernels))
        # when
        result = await scheduler.allocate_sessions(GROUP, [allocation, place(1, A1)])
        # then
        assert (result.allocated, result.rejected) == (
            (session_id(1),),
            (rejected(2, RejectionCode.KERNELS_DIFFER),),
        )

    async def test_session_without_kernels(
        self, load: Load, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given one that cannot be enqueued like that
        with pytest.raises(InvalidInput, match="has no kernels"):
            await load(cluster([agent(A1)], [session(1, 1), session(2)]))
        await load(cluster([agent(A1)], [session(1, 1), session(2, 1)]))
        await owner_connection.execute("DELETE FROM kernels WHERE session_id = $1", session_id(2))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(2), place(1, A1)])
        # then
        assert (result.allocated, result.rejected) == (
            (session_id(1),),
            (rejected(2, RejectionCode.KERNELS_DIFFER),),
        )

    async def test_unknown_agent(self, load: Load, scheduler: SchedulerRepository) -> None:
        # given
        await load(cluster([agent(A1)], [session(1, 1), session(2, 1, 1)]))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(2, A1, "gone"), place(1, A1)])
        # then
        assert (result.allocated, result.rejected) == (
            (session_id(1),),
            (rejected(2, RejectionCode.AGENT_UNKNOWN, "gone"),),
        )

    @pytest.mark.parametrize(
        "change",
        ["status = 'LOST'", "status = 'DRAINING'", "status = 'TERMINATED'", "is_schedulable = false"],
    )
    async def test_unavailable_agent(
        self, load: Load, scheduler: SchedulerRepository, owner_connection: DriverConnection, change: str
    ) -> None:
        # given
        await load(cluster([agent(A1), agent(A2)], [session(1, 1), session(2, 1)]))
        await owner_connection.execute(f"UPDATE agents SET {change} WHERE id = $1", A2)
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(2, A2), place(1, A1)])
        # then
        assert (result.allocated, result.rejected) == (
            (session_id(1),),
            (rejected(2, RejectionCode.AGENT_UNAVAILABLE, A2),),
        )

    async def test_agent_of_another_group(self, load: Load, scheduler: SchedulerRepository) -> None:
        # given
        agents = [agent(A1), agent(A2, scaling_group=OTHER_GROUP)]
        await load(cluster(agents, [session(1, 1), session(2, 1)]))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(2, A2), place(1, A1)])
        # then
        assert (result.allocated, result.rejected) == (
            (session_id(1),),
            (rejected(2, RejectionCode.AGENT_UNAVAILABLE, A2),),
        )

    async def test_spread_of_a_single_node_session(self, load: Load, scheduler: SchedulerRepository) -> None:
        # given
        spread = session(2, 1, 1, cluster_mode=ClusterMode.SINGLE_NODE)
        await load(cluster([agent(A1), agent(A2)], [session(1, 1), spread]))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(2, A1, A2), place(1, A1)])
        # then
        assert (result.allocated, result.rejected) == ((session_id(1),), (rejected(2, RejectionCode.SPREAD),))

    @pytest.mark.parametrize(
        ("cores", "asked", "detail"),
        [
            ((11,), {}, SlotShortage(0, requested=11, available=10)),
            ((4, 4, 3), {}, SlotShortage(0, requested=11, available=10)),
            ((0, 0, 0, 0), {}, ContainerShortage(requested=4, used=0, limit=3)),
            ((1,), {"architecture": ARM}, ArchitectureMismatch(requested=ARM, available=X86)),
            ((1,), {"designated": (A1,)}, NotDesignated(A2, (A1,))),
        ],
    )
    async def test_agent_that_cannot_take_it(
        self,
        load: Load,
        scheduler: SchedulerRepository,
        cores: tuple[int, ...],
        asked: dict[str, object],
        detail: AgentObstacle,
    ) -> None:
        # given
        unfit = session(2, *cores, **asked)  # type: ignore[arg-type]
        await load(cluster([agent(A1), agent(A2, max_containers=3)], [session(1, 1), unfit]))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(2, *[A2] * len(cores)), place(1, A1)])
        # then
        assert (result.allocated, result.rejected) == (
            (session_id(1),),
            (rejected(2, RejectionCode.AGENT, A2, detail),),
        )

    @pytest.mark.parametrize("scope", list(OwnerScope))
    async def test_owner_above_its_limit(
        self, load: Load, scheduler: SchedulerRepository, scope: OwnerScope
    ) -> None:
        # given
        owner_id = OWNER_IDS[scope]
        quota = QuotaSpec(scope=scope, owner_id=owner_id, slot_limits={CPU: 2})
        await load(cluster([agent(A1), agent(A2)], [session(1, 1), session(2, 2)], [quota]))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(1, A1), place(2, A2)])
        # then
        breach = QuotaBreach(QuotaKind.SLOT, 0, used=1, requested=2, limit=2)
        detail = OwnerBreach(scope, owner_id, breach)
        assert (result.allocated, result.rejected) == (
            (session_id(1),),
            (rejected(2, RejectionCode.OWNER_LIMIT, detail=detail),),
        )

    async def test_unmet_dependency(self, load: Load, scheduler: SchedulerRepository) -> None:
        # given
        await load(cluster([agent(A1)], [session(1, 1), session(2, 1, depends_on=(session_id(1),))]))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(1, A1), place(2, A1)])
        # then
        detail = SessionDependency(session_id(1), SessionStatus.PENDING, None)
        assert (result.allocated, result.rejected) == (
            (session_id(1),),
            (rejected(2, RejectionCode.DEPENDENCY, detail=detail),),
        )

    async def test_start_that_is_not_reached(self, load: Load, scheduler: SchedulerRepository) -> None:
        # given
        await load(cluster([agent(A1)], [session(1, 1), session(2, 1, requested_start_at=FUTURE)]))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(2, A1), place(1, A1)])
        # then
        (rejection,) = result.rejected
        assert (result.allocated, rejection.code) == ((session_id(1),), RejectionCode.START_NOT_REACHED)
        assert isinstance(rejection.detail, StartNotReached)
        assert rejection.detail.requested_start_at == FUTURE > rejection.detail.observed_at


class TestAllocation:
    async def test_earlier_session_wins(
        self, load: Load, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        await load(cluster([agent(A1)], [session(1, 6), session(2, 6), session(3, 4)]))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(2, A1), place(1, A1), place(3, A1)])
        # then
        shortage = SlotShortage(0, requested=6, available=4)
        assert (result.allocated, result.rejected) == (
            (session_id(2), session_id(3)),
            (rejected(1, RejectionCode.AGENT, A1, shortage),),
        )
        assert await ledger_of(owner_connection, A1) == Ledger(10, 2, 2)

    async def test_kernels_and_history_are_written(
        self, load: Load, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        await load(cluster([agent(A1), agent(A2)], [session(1, 2, 3, 4)]))
        # when
        await scheduler.allocate_sessions(GROUP, [place(1, A1, A2, A1)])
        # then
        kernels = await owner_connection.fetch(
            "SELECT agent_id, occupied_slots, status FROM kernels ORDER BY kernel_index"
        )
        assert [tuple(kernel) for kernel in kernels] == [
            (A1, [2, 1], "SCHEDULED"),
            (A2, [3, 1], "SCHEDULED"),
            (A1, [4, 1], "SCHEDULED"),
        ]
        assert await ledger_of(owner_connection, A1) == await held_on(owner_connection, A1) == Ledger(6, 2, 2)
        assert await ledger_of(owner_connection, A2) == await held_on(owner_connection, A2) == Ledger(3, 1, 1)
        assert await history_of(owner_connection, 1) == [(None, "PENDING"), ("PENDING", "SCHEDULED")]

    async def test_zero_request_fits_a_full_agent(
        self, load: Load, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        await load(cluster([agent(A1)], [session(1, 10), session(2, 0)]))
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(1, A1), place(2, A1)])
        # then
        assert result.rejected == ()
        assert await ledger_of(owner_connection, A1) == Ledger(10, 2, 2)

    async def test_group_that_does_not_exist(self, scheduler: SchedulerRepository) -> None:
        # when / then
        with pytest.raises(ScalingGroupNotFound, match="nowhere"):
            await scheduler.allocate_sessions(ScalingGroupName("nowhere"), [place(1, A1)])

    async def test_empty_batch(self, scheduler: SchedulerRepository) -> None:
        # when / then
        assert await scheduler.allocate_sessions(GROUP, []) == AllocationResult((), ())
