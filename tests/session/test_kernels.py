"""Kernels one by one, of a session and on an agent."""

from typing import Final, Optional, cast
from uuid import UUID

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.kernel import Kernel
from scheduler_repo.entities.lifecycle import SessionEnd
from scheduler_repo.entities.paging import Cursor
from scheduler_repo.errors import InvalidCursor, InvalidInput, InvalidLimit, KernelNotFound
from scheduler_repo.repositories.kernel.db_source import KernelDBSource
from scheduler_repo.repositories.kernel.repository import KernelRepository
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import AgentId, KernelId, SessionId, SessionResult, SessionStatus
from tests.support.fixtures import Load
from tests.support.small_cluster import (
    ACCESS_KEY,
    DOMAIN,
    GROUP,
    PROJECT,
    USER,
    X86,
    agent,
    cluster,
    kernel_id,
    place,
    session,
    session_id,
)

A: Final = AgentId("a")
NOBODY: Final = UUID(int=7)


class TestKernels:
    @pytest.fixture
    def repository(self, engine: ExtendedAsyncSAEngine) -> KernelRepository:
        return KernelRepository(KernelDBSource(engine))

    @pytest.fixture(autouse=True)
    async def placed(self, load: Load, scheduler: SchedulerRepository, lifecycle: LifecycleRepository) -> None:
        """Nine kernels on one agent, of which one has ended; one on another; one that waits."""
        sessions = [session(number, 1, architecture=X86) for number in range(8)]
        await load(cluster([agent("a"), agent("b")], [*sessions, session(8, 1, 2), session(9, 1)]))
        await scheduler.allocate_sessions(
            GROUP, [*(place(number, "a") for number in range(8)), place(8, "a", "b")]
        )
        await lifecycle.mark_terminated([SessionEnd(session_id(3), SessionResult.SUCCESS, {kernel_id(3): 137})])

    async def test_a_kernel_by_its_id(self, repository: KernelRepository) -> None:
        # when
        runs, ended, waits = [await repository.get_kernel_by_id(kernel_id(number)) for number in (0, 3, 9)]
        # then
        assert runs == await repository.find_kernel(kernel_id(0))
        assert runs == Kernel(
            kernel_id=kernel_id(0),
            session_id=session_id(0),
            kernel_index=0,
            scaling_group=GROUP,
            access_key=ACCESS_KEY,
            user_id=USER,
            project_id=PROJECT,
            domain_name=DOMAIN,
            image="",
            architecture=X86,
            status=SessionStatus.SCHEDULED,
            agent_id=A,
            requested_slots=(1, 1),
            occupied_slots=(1, 1),
            exit_code=None,
            status_changed_at=runs.status_changed_at,
        )
        assert (ended.status, ended.agent_id, ended.exit_code) == (SessionStatus.TERMINATED, A, 137)
        assert (waits.status, waits.agent_id, waits.occupied_slots) == (SessionStatus.PENDING, None, ())

    async def test_a_kernel_that_is_not_there(self, repository: KernelRepository) -> None:
        assert await repository.find_kernel(KernelId(NOBODY)) is None
        with pytest.raises(KernelNotFound, match=f"there is no kernel {NOBODY}"):
            await repository.get_kernel_by_id(KernelId(NOBODY))

    async def test_the_kernels_of_a_session(self, repository: KernelRepository) -> None:
        found = await repository.list_kernels_by_session(session_id(8))
        assert [(each.kernel_index, each.agent_id) for each in found] == [(0, "a"), (1, "b")]
        assert [each.kernel_id for each in await repository.list_kernels_by_session(session_id(3))] == [
            kernel_id(3)
        ]
        assert await repository.list_kernels_by_session(SessionId(NOBODY)) == ()

    @pytest.mark.parametrize("limit", [1, 3, 8, 100])
    async def test_what_occupies_an_agent_page_by_page(self, repository: KernelRepository, limit: int) -> None:
        # when
        found: list[KernelId] = []
        cursor: Optional[Cursor] = None
        while True:
            page = await repository.search_kernels_by_agent(A, limit, cursor)
            found.extend(each.kernel_id for each in page.items)
            assert len(found) <= 100, "it goes in circles"
            assert len(page.items) == limit or page.next_cursor is None
            cursor = page.next_cursor
            if cursor is None:
                break
        # then
        assert found == [kernel_id(number) for number in (0, 1, 2, 4, 5, 6, 7, 8)]
        assert (await repository.search_kernels_by_agent(AgentId("nobody"))).items == ()

    async def test_what_is_malformed_is_refused_before_any_query(
        self, unreachable: ExtendedAsyncSAEngine, repository: KernelRepository
    ) -> None:
        # given
        cursor = (await repository.search_kernels_by_agent(A, 1)).next_cursor
        nowhere = KernelRepository(KernelDBSource(unreachable))
        # then
        for odd in ("x", None, 7):
            for call in (nowhere.get_kernel_by_id, nowhere.find_kernel):
                with pytest.raises(InvalidInput, match=r"kernel id .* must be a UUID"):
                    await call(cast(KernelId, odd))
            with pytest.raises(InvalidInput, match=r"session id .* must be a UUID"):
                await nowhere.list_kernels_by_session(cast(SessionId, odd))
        with pytest.raises(InvalidInput, match="agent id"):
            await nowhere.search_kernels_by_agent(AgentId("a\0"))
        with pytest.raises(InvalidLimit):
            await nowhere.search_kernels_by_agent(A, 0)
        with pytest.raises(InvalidCursor):
            await nowhere.search_kernels_by_agent(AgentId("b"), cursor=cursor)
