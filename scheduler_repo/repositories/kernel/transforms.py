"""Rows of kernels as structs."""

from typing import TYPE_CHECKING

from scheduler_repo.entities.kernel import Kernel
from scheduler_repo.types import SessionStatus

if TYPE_CHECKING:
    from asyncpg import Record


def kernel_of(row: "Record") -> Kernel:
    """Make a kernel of a row of kernel_by_id.sql, kernels_of_session.sql or kernels_on_agent.sql."""
    return Kernel(
        kernel_id=row["id"],
        session_id=row["session_id"],
        kernel_index=row["kernel_index"],
        scaling_group=row["scaling_group"],
        access_key=row["access_key"],
        user_id=row["user_id"],
        project_id=row["project_id"],
        domain_name=row["domain_name"],
        image=row["image"],
        architecture=row["architecture"],
        status=SessionStatus(row["status"]),
        agent_id=row["agent_id"],
        requested_slots=tuple(row["requested_slots"]),
        occupied_slots=tuple(row["occupied_slots"]),
        exit_code=row["exit_code"],
        status_changed_at=row["status_changed_at"],
    )
