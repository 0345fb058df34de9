"""Kernels in PostgreSQL."""

from typing import Final, Optional

import msgspec

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.kernel import Kernel
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page, check_limit
from scheduler_repo.errors import KernelNotFound
from scheduler_repo.repositories.kernel.transforms import kernel_of
from scheduler_repo.resilience.layers import LayerType, db_source_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import AgentId, KernelId, SessionId
from scheduler_repo.validation import check_ids, check_name

KERNEL_BY_ID = load_statement("kernel/kernel_by_id")
KERNELS_OF_SESSION = load_statement("kernel/kernels_of_session")
KERNELS_ON_AGENT = load_statement("kernel/kernels_on_agent")


class _OnAgent(msgspec.Struct, frozen=True):
    agent_id: AgentId


_CURSORS: Final = CursorCodec("search_kernels_by_agent", tuple[KernelId])

_resilience = db_source_resilience(LayerType.KERNEL_DB_SOURCE)


class KernelDBSource:
    """Finds and lists kernels."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.READ)
    async def get_kernel_by_id(self, kernel_id: KernelId) -> Kernel:
        """Return a kernel; raises KernelNotFound and InvalidInput. Costs one statement."""
        check_ids("kernel", (kernel_id,))
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, KERNEL_BY_ID, kernel_id)
        if not rows:
            raise KernelNotFound(
                f"there is no kernel {kernel_id}; correct the id, or its session was purged after it had ended"
            )
        return kernel_of(rows[0])

    @_resilience.apply(OperationKind.READ)
    async def find_kernel(self, kernel_id: KernelId) -> Optional[Kernel]:
        """Return a kernel, None if there is none; raises InvalidInput. Costs one statement."""
        check_ids("kernel", (kernel_id,))
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, KERNEL_BY_ID, kernel_id)
        return kernel_of(rows[0]) if rows else None

    @_resilience.apply(OperationKind.READ)
    async def list_kernels_by_session(self, session_id: SessionId) -> tuple[Kernel, ...]:
        """List all kernels of a session by index; raises InvalidInput. Costs one statement."""
        check_ids("session", (session_id,))
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, KERNELS_OF_SESSION, session_id)
        return tuple(map(kernel_of, rows))

    @_resilience.apply(OperationKind.READ)
    async def search_kernels_by_agent(
        self, agent_id: AgentId, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[Kernel]:
        """Answer one page of the kernels that occupy an agent, by id.

        Raises InvalidInput, InvalidLimit and InvalidCursor. Costs one statement.
        """
        check_name(agent_id, "agent id")
        check_limit(limit)
        question = _OnAgent(agent_id)
        after = None if cursor is None else _CURSORS.decode(question, cursor)[0]
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, KERNELS_ON_AGENT, agent_id, after, limit + 1)
        items = tuple(map(kernel_of, rows[:limit]))
        if len(rows) <= limit:
            return Page(items, None)
        return Page(items, _CURSORS.encode(question, (items[-1].kernel_id,)))
