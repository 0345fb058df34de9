"""Kernels: the containers of sessions."""

from typing import Final, Optional

from scheduler_repo.entities.kernel import Kernel
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.errors import KernelNotFound
from scheduler_repo.repositories.kernel.db_source import KERNELS, KernelDBSource, kernel_from_row
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import AgentId, KernelId, SessionId
from scheduler_repo.validation import check_id, check_limit, check_name

_resilience = layer_resilience(LayerType.KERNEL_REPOSITORY)
_CURSORS: Final = CursorCodec("search_kernels_by_agent", tuple[KernelId])


class KernelRepository(Repository[KernelDBSource]):
    """Finds and lists kernels; amounts are in each slot's smallest unit, by slot index.

    All methods raise InvalidInput for a malformed id, and the errors of the database layer; each costs one
    statement.
    """

    source_type = KernelDBSource

    @_resilience.apply(OperationKind.READ)
    async def get_kernel_by_id(self, kernel_id: KernelId) -> Kernel:
        """Return a kernel, whatever its status; raises KernelNotFound."""
        found = await self._find(kernel_id)
        if found is None:
            raise KernelNotFound(
                f"there is no kernel {kernel_id}; correct the id, or its session was purged after it had ended",
                kernel_id=kernel_id,
            )
        return found

    @_resilience.apply(OperationKind.READ)
    async def find_kernel(self, kernel_id: KernelId) -> Optional[Kernel]:
        """Return a kernel, whatever its status, or None if no kernel has this id."""
        return await self._find(kernel_id)

    @_resilience.apply(OperationKind.READ)
    async def list_kernels_by_session(self, session_id: SessionId) -> tuple[Kernel, ...]:
        """List all kernels of a session by index, ended ones too; none if there is no such session."""
        check_id(session_id, "session")
        rows = await self._read(self._db_source.list_kernels_of_session, session_id)
        return await KERNELS.read(rows)

    @_resilience.apply(OperationKind.READ)
    async def search_kernels_by_agent(
        self, agent_id: AgentId, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[Kernel]:
        """Return one page of the kernels that occupy an agent now, by id; none if there is no such agent.

        ``limit`` is at most 1,000; ``cursor`` is ``next_cursor`` of the page before, None begins. Raises
        InvalidLimit and InvalidCursor. Time grows with what the agent runs.
        """
        check_name(agent_id, "agent id")
        check_limit(limit)
        question = {"agent_id": agent_id}
        after = None if cursor is None else _CURSORS.decode(question, cursor)[0]
        rows = await self._read(self._db_source.list_kernels_on_agent, agent_id, after, limit + 1)
        return await KERNELS.page(_CURSORS, question, rows, limit, lambda row: (row["id"],))

    async def _find(self, kernel_id: KernelId) -> Optional[Kernel]:
        check_id(kernel_id, "kernel")
        row = await self._read(self._db_source.find_kernel, kernel_id)
        return None if row is None else kernel_from_row(row)
