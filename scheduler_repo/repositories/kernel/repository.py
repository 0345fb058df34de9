"""Kernels: the containers of sessions."""

from typing import Final, Optional

import msgspec

from scheduler_repo.entities.kernel import Kernel
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.errors import KernelNotFound
from scheduler_repo.repositories.kernel.db_source import KernelDBSource, kernel_from_row
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import AgentId, KernelId, SessionId
from scheduler_repo.validation import check_id, check_limit, check_name
from scheduler_repo.wiring import check_wiring

_resilience = layer_resilience(LayerType.KERNEL_REPOSITORY)


class _OnAgent(msgspec.Struct, frozen=True):
    agent_id: AgentId


_CURSORS: Final = CursorCodec("search_kernels_by_agent", tuple[KernelId])


class KernelRepository:
    """Finds and lists kernels; all methods raise the errors of the database layer too."""

    def __init__(self, db_source: KernelDBSource) -> None:
        """Raise InvalidWiring for what is no KernelDBSource."""
        check_wiring(db_source, KernelDBSource, "db_source", "KernelDBSource(engine)")
        self._db_source = db_source
        self._db = db_source.engine

    @_resilience.apply(OperationKind.READ)
    async def get_kernel_by_id(self, kernel_id: KernelId) -> Kernel:
        """Return a kernel, whatever its status; amounts in each slot's smallest unit, by slot index.

        Raises KernelNotFound, and InvalidInput for an id that is no UUID. Costs one statement.
        """
        found = await self._find(kernel_id)
        if found is None:
            raise KernelNotFound(
                f"there is no kernel {kernel_id}; correct the id, or its session was purged after it had ended"
            )
        return found

    @_resilience.apply(OperationKind.READ)
    async def find_kernel(self, kernel_id: KernelId) -> Optional[Kernel]:
        """Return a kernel as ``get_kernel_by_id`` does, or None if no kernel has this id.

        Raises InvalidInput for an id that is no UUID. Costs one statement.
        """
        return await self._find(kernel_id)

    @_resilience.apply(OperationKind.READ)
    async def list_kernels_by_session(self, session_id: SessionId) -> tuple[Kernel, ...]:
        """List all kernels of a session by index, ended ones too; none if there is no such session.

        Raises InvalidInput for an id that is no UUID. Costs one statement.
        """
        check_id(session_id, "session")
        async with self._db.begin_readonly_session() as db_sess:
            rows = await self._db_source.list_kernels_of_session(db_sess, session_id)
        return tuple(map(kernel_from_row, rows))

    @_resilience.apply(OperationKind.READ)
    async def search_kernels_by_agent(
        self, agent_id: AgentId, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[Kernel]:
        """Return one page of the kernels that occupy an agent now, by id; none if there is no such agent.

        ``limit`` is at most 1,000; ``cursor`` is ``next_cursor`` of the page before, None begins. Raises
        InvalidInput, InvalidLimit and InvalidCursor. Costs one statement; time grows with what the agent runs.
        """
        check_name(agent_id, "agent id")
        check_limit(limit)
        question = _OnAgent(agent_id)
        after = None if cursor is None else _CURSORS.decode(question, cursor)[0]
        async with self._db.begin_readonly_session() as db_sess:
            rows = await self._db_source.list_kernels_on_agent(db_sess, agent_id, after, limit + 1)
        return _CURSORS.page(question, [*map(kernel_from_row, rows)], limit, lambda kernel: (kernel.kernel_id,))

    async def _find(self, kernel_id: KernelId) -> Optional[Kernel]:
        check_id(kernel_id, "kernel")
        async with self._db.begin_readonly_session() as db_sess:
            row = await self._db_source.find_kernel(db_sess, kernel_id)
        return None if row is None else kernel_from_row(row)
