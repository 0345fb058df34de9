"""The statements of kernels."""

from typing import TYPE_CHECKING, Final, Optional

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.kernel import Kernel
from scheduler_repo.repositories.db_source import DBSource, RowReader, build_struct
from scheduler_repo.types import AgentId, KernelId, SessionId

if TYPE_CHECKING:
    from asyncpg import Record

KERNEL_BY_ID = load_statement("kernel/kernel_by_id")
KERNELS_OF_SESSION = load_statement("kernel/kernels_of_session")
KERNELS_ON_AGENT = load_statement("kernel/kernels_on_agent")


class KernelDBSource(DBSource):
    """Finds and lists kernels; each method costs one statement."""

    async def find_kernel(self, db_sess: SASession, kernel_id: KernelId) -> "Optional[Record]":
        """Find one kernel."""
        rows = await fetch_rows(db_sess, KERNEL_BY_ID, kernel_id)
        return rows[0] if rows else None

    async def list_kernels_of_session(self, db_sess: SASession, session_id: SessionId) -> "list[Record]":
        """List all kernels of a session by index."""
        return await fetch_rows(db_sess, KERNELS_OF_SESSION, session_id)

    async def list_kernels_on_agent(
        self, db_sess: SASession, agent_id: AgentId, after: Optional[KernelId], limit: int
    ) -> "list[Record]":
        """List the kernels that occupy an agent by id, those behind ``after``."""
        return await fetch_rows(db_sess, KERNELS_ON_AGENT, agent_id, after, limit)


def kernel_from_row(row: "Record") -> Kernel:
    """Build a kernel from a row of any of the statements above."""
    slots = {name: tuple(row[name]) for name in ("requested_slots", "occupied_slots")}
    return build_struct(Kernel, row, kernel_id=row["id"], **slots)


KERNELS: Final = RowReader("kernel", kernel_from_row)
