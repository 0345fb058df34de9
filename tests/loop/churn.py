"""A process that keeps one group busy: sessions come and end all the time, until it is killed."""

import asyncio
from uuid import uuid4

import msgspec

from scheduler_repo.connection import open_repositories
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.lifecycle import SessionEnd
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.types import KernelId, ScalingGroupName, SessionId, SessionResult
from scheduler_repo.workload.synthetic import synthetic_queue

# A tenth of the benchmarks' size M for each.
GROUPS = tuple(ScalingGroupName(f"group-{number}") for number in range(10))
_AT_ONCE = 20


def cluster_of(number: int) -> ClusterSpec:
    """The agents, owners and queue of one group."""
    spec = synthetic_queue(
        agents=100, sessions=1_000, kernels=1_600, seed=number + 1, scaling_group=GROUPS[number]
    )
    return spec if number == 0 else msgspec.structs.replace(spec, slot_types=())


def _copy(session: SessionCreationSpec) -> SessionCreationSpec:
    kernels = tuple(msgspec.structs.replace(kernel, kernel_id=KernelId(uuid4())) for kernel in session.kernels)
    return msgspec.structs.replace(session, session_id=SessionId(uuid4()), depends_on=(), kernels=kernels)


async def churn(url: str) -> None:
    """End sessions of the first group, and add as many."""
    sessions = cluster_of(0).sessions
    async with open_repositories(url) as repos:
        begin = 0
        while True:
            new = sessions[begin : begin + _AT_ONCE]
            begin = (begin + _AT_ONCE) % len(sessions)
            await repos.sessions.enqueue_sessions([_copy(session) for session in new])
            placed = await repos.lifecycle.list_undispatched_sessions(GROUPS[0], limit=_AT_ONCE)
            await repos.lifecycle.mark_terminated(
                [SessionEnd(session.session_id, SessionResult.SUCCESS) for session in placed]
            )
            await asyncio.sleep(0.005)


def main(url: str) -> None:
    """Go on until it is killed."""
    asyncio.run(churn(url))
