"""Kernels: the containers of sessions."""

from typing import Optional

from scheduler_repo.entities.kernel import Kernel
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, Page
from scheduler_repo.repositories.kernel.db_source import KernelDBSource
from scheduler_repo.resilience.layers import LayerType, repository_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import AgentId, KernelId, SessionId

_resilience = repository_resilience(LayerType.KERNEL_REPOSITORY)


class KernelRepository:
    """Finds and lists kernels; all raise the errors of the database layer."""

    def __init__(self, db_source: KernelDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.READ)
    async def get_kernel_by_id(self, kernel_id: KernelId) -> Kernel:
        """Return a kernel, whatever its status; amounts in each slot's smallest unit, by slot index.

        Raises KernelNotFound, and InvalidInput for an id that is no UUID. Costs one statement.
        """
        return await self._db_source.get_kernel_by_id(kernel_id)

    @_resilience.apply(OperationKind.READ)
    async def find_kernel(self, kernel_id: KernelId) -> Optional[Kernel]:
        """Return a kernel as ``get_kernel_by_id`` does, or None where there is none of this id.

        Raises InvalidInput for an id that is no UUID. Costs one statement.
        """
        return await self._db_source.find_kernel(kernel_id)

    @_resilience.apply(OperationKind.READ)
    async def list_kernels_by_session(self, session_id: SessionId) -> tuple[Kernel, ...]:
        """List all kernels of a session by index, ended ones too; none if there is no such session.

        Raises InvalidInput for an id that is no UUID. Costs one statement.
        """
        return await self._db_source.list_kernels_by_session(session_id)

    @_resilience.apply(OperationKind.READ)
    async def search_kernels_by_agent(
        self, agent_id: AgentId, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[Kernel]:
        """Answer one page of the kernels that occupy an agent now, by id; none if there is no such agent.

        ``limit`` is at most 1,000; ``cursor`` is ``next_cursor`` of the page before, None begins. Raises
        InvalidInput, InvalidLimit and InvalidCursor. Costs one statement; time grows with what the agent runs.
        """
        return await self._db_source.search_kernels_by_agent(agent_id, limit, cursor)
