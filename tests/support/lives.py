"""Sessions brought to any status by the engine itself, and what the rows then say of them and of agents."""

from collections.abc import Mapping, Sequence
from typing import Final, Optional

import msgspec

from scheduler_repo.entities.lifecycle import RejectedTransition, TransitionRejectionCode, TransitionResult
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import KernelId, SessionId, SessionStatus
from tests.lifecycle.marking import mark
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import GROUP, agent, cluster, place, session, session_id

A1: Final = "a1"


A2: Final = "a2"


# How a session comes to be in each status, by the shortest way.
WAYS: Final[Mapping[SessionStatus, tuple[SessionStatus, ...]]] = {
    SessionStatus.PENDING: (),
    SessionStatus.SCHEDULED: (SessionStatus.SCHEDULED,),
    SessionStatus.PREPARING: (SessionStatus.SCHEDULED, SessionStatus.PREPARING),
    SessionStatus.RUNNING: (SessionStatus.SCHEDULED, SessionStatus.PREPARING, SessionStatus.RUNNING),
    SessionStatus.TERMINATING: (SessionStatus.SCHEDULED, SessionStatus.TERMINATING),
    SessionStatus.TERMINATED: (SessionStatus.SCHEDULED, SessionStatus.TERMINATED),
    SessionStatus.CANCELLED: (SessionStatus.CANCELLED,),
    SessionStatus.ERROR: (SessionStatus.SCHEDULED, SessionStatus.ERROR),
}


# What agents are said to hold, and what their kernels hold, where the two are not the same.
LEAKS: Final = """
WITH held AS (
    SELECT agent_id, occupied_slots FROM kernels
    WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
)
SELECT s.agent_id, s.slot_name, s.occupied AS said, coalesce(sum(h.occupied_slots[t.slot_index + 1]), 0) AS held
FROM agent_slots AS s
JOIN slot_types AS t ON t.name = s.slot_name
LEFT JOIN held AS h ON h.agent_id = s.agent_id
GROUP BY s.agent_id, s.slot_name, s.occupied
HAVING s.occupied <> coalesce(sum(h.occupied_slots[t.slot_index + 1]), 0)
UNION ALL
SELECT a.id, 'containers', a.container_count, count(h.agent_id)
FROM agents AS a
LEFT JOIN held AS h ON h.agent_id = a.id
GROUP BY a.id, a.container_count
HAVING a.container_count <> count(h.agent_id)
"""


# (from, to, reason)
Change = tuple[Optional[str], str, Optional[str]]


class Kernel(msgspec.Struct, frozen=True):
    """What a kernel's row says."""

    status: str
    agent_id: Optional[str]
    occupied_slots: tuple[int, ...]
    exit_code: Optional[int]


async def leaks(connection: DriverConnection) -> list[tuple[object, ...]]:
    """Counters of agents that differ from what their kernels hold: agent, slot, said, held."""
    return [tuple(row) for row in await connection.fetch(LEAKS)]


async def history_with_reasons(connection: DriverConnection, number: int) -> list[Change]:
    """The changes of a session's status, in their order."""
    rows = await connection.fetch(
        "SELECT from_status, to_status, reason FROM session_history WHERE session_id = $1 ORDER BY id",
        session_id(number),
    )
    return [(row["from_status"], row["to_status"], row["reason"]) for row in rows]


async def kernels_of(connection: DriverConnection, number: int) -> list[Kernel]:
    """The kernels of a session, by index."""
    rows = await connection.fetch(
        "SELECT status, agent_id, occupied_slots, exit_code FROM kernels WHERE session_id = $1"
        " ORDER BY kernel_index",
        session_id(number),
    )
    return [
        Kernel(row["status"], row["agent_id"], tuple(row["occupied_slots"]), row["exit_code"]) for row in rows
    ]


def rejections(result: TransitionResult) -> list[tuple[SessionId, TransitionRejectionCode]]:
    """Whom a batch left as it was, and why."""
    return [(each.session_id, each.code) for each in result.rejected]


def rejected(
    number: int,
    code: TransitionRejectionCode,
    status: Optional[SessionStatus] = None,
    *,
    kernel: Optional[KernelId] = None,
    agent_id: Optional[str] = None,
    detail: str = "",
) -> RejectedTransition:
    return RejectedTransition(session_id(number), code, status, kernel, agent_id, detail)  # type: ignore[arg-type]


class Lives:
    """A cluster of two agents, on which sessions are brought to a status."""

    def __init__(
        self,
        load: Load,
        scheduler: SchedulerRepository,
        repository: LifecycleRepository,
        connection: DriverConnection,
    ) -> None:
        self.repository = repository
        self.scheduler = scheduler
        self.connection = connection
        self._load = load

    async def given(self, *statuses: SessionStatus) -> None:
        """Make sessions 0, 1, ... in these statuses.

        Each has three kernels, of 2 and 4 cores on the first agent and of 3 on the second, each with one of
        memory.
        """
        agents = [agent(name, cpu=100, mem=100) for name in (A1, A2)]
        await self._load(cluster(agents, [session(number, 2, 3, 4) for number in range(len(statuses))]))
        longest = max(map(len, WAYS.values()))
        for step in range(longest):
            steps: dict[SessionStatus, list[int]] = {}
            for number, status in enumerate(statuses):
                if step < len(WAYS[status]):
                    steps.setdefault(WAYS[status][step], []).append(number)
            for to_status, numbers in steps.items():
                await self._move(to_status, numbers)

    async def mark(
        self, to_status: SessionStatus, numbers: Sequence[int], reason: Optional[str] = None
    ) -> TransitionResult:
        """Move sessions, by their numbers."""
        return await mark(self.repository, to_status, [session_id(number) for number in numbers], reason)

    async def _move(self, to_status: SessionStatus, numbers: list[int]) -> None:
        if to_status is SessionStatus.SCHEDULED:
            placed = await self.scheduler.allocate_sessions(
                GROUP, [place(each, A1, A2, A1) for each in numbers]
            )
            assert placed.rejected == ()
        else:
            assert (await self.mark(to_status, numbers)).rejected == ()
