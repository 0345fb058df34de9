"""What a locked row leaves for later: named, once under one id, and nothing where nobody holds a row."""

from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest
from rich.console import Console

from scheduler_repo.cli.output.session import encode_session, lay_out_session
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.allocation import RejectedAllocation, RejectionCode
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.errors import LockNotAvailable
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import OperationId, OwnerScope, SessionStatus
from tests.locks.held_rows import held_row
from tests.metrics.samples import sample
from tests.support.databases import OWNER, READER, Database, DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import ACCESS_KEY, GROUP, agent, cluster, place, session, session_id

A1, A2 = "a1", "a2"


@pytest.fixture
async def two_agents(load: Load) -> None:
    """Four sessions of half an agent each, whose owner has a quota."""
    quota = QuotaSpec(scope=OwnerScope.ACCESS_KEY, owner_id=ACCESS_KEY, max_concurrent_sessions=100)
    await load(cluster([agent(A1), agent(A2)], [session(number, 5) for number in range(1, 5)], [quota]))


@pytest.mark.usefixtures("two_agents")
class TestTick:
    @pytest.mark.parametrize(
        ("table", "condition"),
        [
            ("sessions", f"id = '{session_id(1)}'"),
            ("kernels", f"session_id = '{session_id(1)}'"),
            ("agents", f"id = '{A1}'"),
            ("agent_slots", f"agent_id = '{A1}'"),
        ],
    )
    async def test_places_the_others(
        self, scheduler: SchedulerRepository, holder: DriverConnection, table: str, condition: str
    ) -> None:
        # given
        loop = SchedulerLoop(scheduler, BestFitPlanner(), GROUP)
        before = sample("scheduler_repo_rejected_sessions_total", scaling_group=GROUP, code="ROW_LOCKED")
        # when
        async with held_row(holder, table, condition) as held:
            tick = await loop.tick()
        # then
        assert held is not None
        detail = RowLocked(table, held.row_id, (held.pid,))
        assert {(each.code, each.detail) for each in tick.rejected} == {(RejectionCode.ROW_LOCKED, detail)}
        assert len(tick.allocated) == (2 if table.startswith("agent") else 3)
        assert sample(
            "scheduler_repo_rejected_sessions_total", scaling_group=GROUP, code="ROW_LOCKED"
        ) == before + len(tick.rejected)
        # and the next tick places the rest
        assert len((await loop.tick()).allocated) == len(tick.rejected)

    async def test_a_locked_quota_keeps_its_owners_sessions_back(
        self, scheduler: SchedulerRepository, holder: DriverConnection
    ) -> None:
        async with held_row(holder, "quotas") as held:
            result = await scheduler.allocate_sessions(GROUP, [place(1, A1), place(2, A2)])
        # then
        assert held is not None
        assert [each.detail for each in result.rejected] == [RowLocked("quotas", held.row_id, (held.pid,))] * 2


@pytest.mark.usefixtures("two_agents")
class TestHolders:
    @pytest.mark.parametrize("strength", ["UPDATE", "NO KEY UPDATE", "SHARE"])
    @pytest.mark.parametrize("in_savepoint", [False, True])
    async def test_are_named(
        self, scheduler: SchedulerRepository, holder: DriverConnection, strength: str, in_savepoint: bool
    ) -> None:
        lock = held_row(
            holder, "sessions", f"id = '{session_id(1)}'", strength=strength, in_savepoint=in_savepoint
        )
        async with lock as held:
            result = await scheduler.allocate_sessions(GROUP, [place(1, A1), place(2, A1)])
        # then
        assert held is not None
        row = RowLocked("sessions", str(session_id(1)), (held.pid,))
        assert result.rejected == (RejectedAllocation(session_id(1), RejectionCode.ROW_LOCKED, None, row),)
        assert result.allocated == (session_id(2),)

    async def test_several_are_all_named(
        self, scheduler: SchedulerRepository, holder: DriverConnection, migrated_database: Database
    ) -> None:
        condition = f"id = '{session_id(1)}'"
        async with (
            migrated_database.driver_as(OWNER) as other,
            held_row(holder, "sessions", condition, strength="SHARE") as first,
            held_row(other, "sessions", condition, strength="SHARE") as second,
        ):
            result = await scheduler.allocate_sessions(GROUP, [place(1, A1)])
        # then
        assert first is not None
        assert second is not None
        (rejection,) = result.rejected
        assert rejection.detail == RowLocked(
            "sessions", str(session_id(1)), tuple(sorted((first.pid, second.pid)))
        )

    async def test_a_lock_that_hinders_nobody_does_not_count(
        self, scheduler: SchedulerRepository, holder: DriverConnection
    ) -> None:
        async with held_row(holder, "sessions", f"id = '{session_id(1)}'", strength="KEY SHARE"):
            result = await scheduler.allocate_sessions(GROUP, [place(1, A1)])
        assert result.rejected == ()

    async def test_an_update_that_is_under_way_is_a_lock(
        self, scheduler: SchedulerRepository, holder: DriverConnection
    ) -> None:
        async with holder.transaction():
            await holder.execute("UPDATE agents SET address = address WHERE id = $1", A1)
            result = await scheduler.allocate_sessions(GROUP, [place(1, A1), place(2, A2)])
        # then
        (rejection,) = result.rejected
        assert rejection.detail == RowLocked("agents", A1, (holder.get_server_pid(),))
        assert rejection.agent_id == A1
        assert result.allocated == (session_id(2),)


@pytest.mark.usefixtures("two_agents")
class TestOnce:
    async def test_asked_again_under_the_same_id(
        self, scheduler: SchedulerRepository, holder: DriverConnection
    ) -> None:
        # given
        operation_id, batch = OperationId(uuid4()), [place(1, A1), place(2, A2)]
        async with held_row(holder, "sessions", f"id = '{session_id(1)}'"):
            first = await scheduler.allocate_sessions(GROUP, batch, operation_id=operation_id)
        # when: the row is free
        again = await scheduler.allocate_sessions(GROUP, batch, operation_id=operation_id)
        # then
        assert again == first
        assert [each.code for each in again.rejected] == [RejectionCode.ROW_LOCKED]
        # and under another id it goes through
        assert (await scheduler.allocate_sessions(GROUP, [place(1, A1)])).rejected == ()


@pytest.mark.usefixtures("two_agents")
class TestOneAlone:
    async def test_names_row_and_holder(self, engine: ExtendedAsyncSAEngine, holder: DriverConnection) -> None:
        repository = SessionRepository(SessionDBSource(engine))
        async with held_row(holder, "sessions", f"id = '{session_id(1)}'") as held:
            with pytest.raises(LockNotAvailable, match=str(holder.get_server_pid())) as caught:
                await repository.update_status(session_id(1), SessionStatus.CANCELLED)
        # then
        assert held is not None
        assert (caught.value.table, caught.value.row_id) == ("sessions", str(session_id(1)))
        assert caught.value.pids == (held.pid,)
        # and now it can
        await repository.update_status(session_id(1), SessionStatus.CANCELLED)


@pytest.mark.usefixtures("two_agents")
class TestSweep:
    async def test_the_free_ones_come_before_the_locked(
        self, lifecycle: LifecycleRepository, holder: DriverConnection
    ) -> None:
        # given all are overdue
        await holder.execute("UPDATE scaling_groups SET pending_timeout = $1", timedelta(microseconds=1))
        # when: those that are locked would fill the batch
        condition = f"id IN ('{session_id(1)}')"
        async with held_row(holder, "sessions", condition) as held:
            result = await lifecycle.sweep_pending_sessions(GROUP, 3)
        # then
        assert held is not None
        assert result.changed == tuple(map(session_id, (2, 3, 4)))


@pytest.mark.usefixtures("two_agents")
class TestExplained:
    @pytest.mark.parametrize(
        ("table", "condition"),
        [
            ("sessions", f"id = '{session_id(1)}'"),
            ("kernels", f"session_id = '{session_id(1)}'"),
            ("quotas", "true"),
        ],
    )
    async def test_rows_of_a_session_that_others_hold_are_listed(
        self, migrated_database: Database, holder: DriverConnection, table: str, condition: str
    ) -> None:
        # given a role that may only read
        engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(READER))))
        repository = SessionRepository(SessionDBSource(engine))
        # when
        async with held_row(holder, table, condition) as held:
            found = await repository.list_locked_rows(session_id(1))
            other = await repository.list_locked_rows(session_id(99))
        # then
        assert held is not None
        assert found == (RowLocked(table, held.row_id, (held.pid,)),)
        assert other == ()
        assert await repository.list_locked_rows(session_id(1)) == ()
        await engine.dispose()

    async def test_the_page_shows_them(self, engine: ExtendedAsyncSAEngine, holder: DriverConnection) -> None:
        # given
        repository = SessionRepository(SessionDBSource(engine))
        async with held_row(holder, "sessions", f"id = '{session_id(1)}'"):
            locked = await repository.list_locked_rows(session_id(1))
        state = await repository.get_session_state(session_id(1))
        # then
        words = f"row {session_id(1)} of sessions is locked by process {holder.get_server_pid()}"
        console = Console(width=200)
        with console.capture() as capture:
            console.print(lay_out_session(state, None, locked))
        assert words in capture.get()
        encoded = msgspec.json.decode(encode_session(state, None, locked))
        assert encoded["locked"] == msgspec.json.decode(msgspec.json.encode(locked))
