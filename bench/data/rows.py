"""Sessions as lines of COPY's text format: many in a second, the same for the same seed.

Exactly one session in five has four kernels and one in twenty depends on another one, in every group. Each
kernel requests three slots. What runs is placed on the agents of its group without overcommitting any.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Final, Optional

import msgspec

from bench.data.cluster import Shape, Surroundings
from scheduler_repo.entities.agent import AgentSpec
from scheduler_repo.types import ScalingGroupName, SessionStatus
from scheduler_repo.workload.owners import Owner
from scheduler_repo.workload.slot_types import CPU, CUDA_SHARES, GIBIBYTE, MEM, MILLI
from scheduler_repo.workload.synthetic import QUEUE_START

_QUEUE_AND_OWNERS: Final = ("scaling_group", "access_key", "user_id", "project_id", "domain_name")
# What is given of a new session, and of a new kernel besides what it requests.
NEW_SESSION_COLUMNS: Final = ("id", "name", *_QUEUE_AND_OWNERS, "session_type", "cluster_mode")
NEW_KERNEL_COLUMNS: Final = ("id", "session_id", "kernel_index", *_QUEUE_AND_OWNERS)
SESSION_COLUMNS: Final = (
    *(*NEW_SESSION_COLUMNS, "priority", "status", "result"),
    *("created_at", "status_changed_at", "has_dependencies"),
)
KERNEL_COLUMNS: Final = (
    *(*NEW_KERNEL_COLUMNS, "status", "agent_id"),
    *("requested_slots", "occupied_slots", "status_changed_at"),
)
DEPENDENCY_COLUMNS: Final = ("session_id", "depends_on")
HISTORY_COLUMNS: Final = ("session_id", "from_status", "to_status", "changed_at")

_CHUNK: Final = 5_000
_MANY_KERNELS: Final = 4
_LONG_AGO: Final = timedelta(days=30)
# The word before the last change, for the history.
_BEFORE: Final = {
    SessionStatus.PENDING: r"\N",
    SessionStatus.RUNNING: SessionStatus.PREPARING.value,
    SessionStatus.TERMINATED: SessionStatus.TERMINATING.value,
}
# Amounts in the order of the slot types: cpu, mem, cuda.shares.
_Amounts = tuple[int, int, int]


class SessionChunk(msgspec.Struct, frozen=True):
    """Lines for each of the four tables; ``sessions`` is how many sessions they are of."""

    sessions: int
    session_lines: bytes
    kernel_lines: bytes
    dependency_lines: bytes
    history_lines: bytes


class AgentLoads:
    """What the running kernels that were made so far occupy of each agent."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._agents = surroundings.agents
        self._next: Counter[ScalingGroupName] = Counter()
        self.occupied: dict[str, list[int]] = {}
        self.containers: Counter[str] = Counter()

    def place(self, group: ScalingGroupName, amounts: _Amounts, count: int) -> str:
        """Occupy the next agent of a group that has room for ``count`` alike kernels; return its id."""
        agents = self._agents[group]
        for _ in agents:
            agent = agents[self._next[group] % len(agents)]
            self._next[group] += 1
            occupied = self.occupied.setdefault(agent.agent_id, [0, 0, 0])
            after = [used + count * amount for used, amount in zip(occupied, amounts, strict=True)]
            if all(used <= limit for used, limit in zip(after, _capacity(agent), strict=True)):
                occupied[:] = after
                self.containers[agent.agent_id] += count
                return agent.agent_id
        raise ValueError(
            f"the agents of group {group} have no room for another running session; give it more agents"
        )


class SessionRows:
    """Makes sessions of one cluster, chunk by chunk; each call goes on where the one before stopped."""

    def __init__(self, shape: Shape, surroundings: Surroundings) -> None:
        self._shape = shape
        self._owners = [_owner_text(owner) for owner in surroundings.owners]
        self._agent_ids = {
            group: [agent.agent_id for agent in agents] for group, agents in surroundings.agents.items()
        }
        self._made: Counter[tuple[ScalingGroupName, SessionStatus]] = Counter()
        # What later sessions of a group may depend on: a few that succeeded, and a few that did not end yet.
        self._ended: dict[ScalingGroupName, list[str]] = {}
        self._open: dict[ScalingGroupName, list[str]] = {}
        self.loads = AgentLoads(surroundings)

    def make(self, group: ScalingGroupName, status: SessionStatus, count: int) -> Iterator[SessionChunk]:
        """Make ``count`` more sessions of a group, all PENDING, RUNNING or TERMINATED; some 10 µs each."""
        done = 0
        while done < count:
            first = self._made[group, status]
            several = min(_CHUNK, count - done)
            yield self._make_chunk(group, status, first, several)
            self._made[group, status] += several
            done += several

    def _make_chunk(
        self, group: ScalingGroupName, status: SessionStatus, first: int, count: int
    ) -> SessionChunk:
        rng = Random(f"{self._shape.seed}/{group}/{status}/{first}")
        sessions, kernels, dependencies, history = [], [], [], []
        result = "SUCCESS" if status is SessionStatus.TERMINATED else r"\N"
        occupies = status is not SessionStatus.PENDING
        before, word = _BEFORE[status], status.value
        for number in range(first, first + count):
            session_id = rng.randbytes(16).hex()
            owners = self._owners[rng.randrange(len(self._owners))]
            kernel_count = _MANY_KERNELS if number % 5 == 0 else 1
            is_spread = kernel_count > 1 and rng.random() < 0.5
            created = _time(number, long_ago=occupies)
            depends_on = self._draw_dependency(rng, group, status) if _has_dependency(number) else None
            sessions.append(
                f"{session_id}\t{group}-{word.lower()}-{number:07d}\t{group}\t{owners}\t"
                f"{rng.choice(_TYPES)}\t{'MULTI_NODE' if is_spread else 'SINGLE_NODE'}\t"
                f"{rng.choice(_PRIORITIES)}\t{word}\t{result}\t{created}\t{created}\t"
                f"{'t' if depends_on else 'f'}\n"
            )
            amounts = _draw_amounts(rng)
            slots = f"{{{amounts[0]},{amounts[1]},{amounts[2]}}}"
            agent_id = r"\N"
            for index in range(kernel_count):
                if occupies and (index == 0 or is_spread):
                    together = 1 if is_spread else kernel_count
                    agent_id = self._choose_agent(rng, group, status, amounts, together)
                kernels.append(
                    f"{rng.randbytes(16).hex()}\t{session_id}\t{index}\t{group}\t{owners}\t{word}\t{agent_id}\t"
                    f"{slots}\t{slots if occupies else '{}'}\t{created}\n"
                )
            if depends_on is not None:
                dependencies.append(f"{session_id}\t{depends_on}\n")
            history.append(f"{session_id}\t{before}\t{word}\t{created}\n")
            self._remember(group, status, session_id)
        return SessionChunk(
            count, *("".join(lines).encode() for lines in (sessions, kernels, dependencies, history))
        )

    def _choose_agent(
        self, rng: Random, group: ScalingGroupName, status: SessionStatus, amounts: _Amounts, kernels: int
    ) -> str:
        if status is SessionStatus.RUNNING:
            return self.loads.place(group, amounts, kernels)
        agent_ids = self._agent_ids[group]
        return agent_ids[rng.randrange(len(agent_ids))]

    def _draw_dependency(self, rng: Random, group: ScalingGroupName, status: SessionStatus) -> Optional[str]:
        """Draw an earlier session of the group; half of those that wait are held back by theirs."""
        ended, opened = self._ended.get(group, []), self._open.get(group, [])
        is_held_back = status is SessionStatus.PENDING and (not ended or rng.random() < 0.5)
        candidates = opened if is_held_back else ended
        return rng.choice(candidates) if candidates else None

    def _remember(self, group: ScalingGroupName, status: SessionStatus, session_id: str) -> None:
        known = (self._ended if status is SessionStatus.TERMINATED else self._open).setdefault(group, [])
        if len(known) < _REMEMBERED:
            known.append(session_id)


_REMEMBERED: Final = 1_000
_PRIORITIES: Final = (10, 10, 10, 20)
_TYPES: Final = ("INTERACTIVE", "BATCH", "BATCH", "INFERENCE")
_CORES: Final = tuple(cores * MILLI for cores in (1, 2, 4, 8))
_MEMORY: Final = tuple(gibibytes * GIBIBYTE for gibibytes in (4, 8, 16, 32))
_SHARES: Final = tuple(range(50, 801, 50))


def _has_dependency(number: int) -> bool:
    """Whether it is the one of its twenty that has; a fifth of these have four kernels."""
    block, place = divmod(number, 20)
    return place == (7 * block + 1) % 20


def _draw_amounts(rng: Random) -> _Amounts:
    return rng.choice(_CORES), rng.choice(_MEMORY), rng.choice(_SHARES)


def _owner_text(owner: Owner) -> str:
    return f"{owner.access_key}\t{owner.user_id}\t{owner.project_id}\t{owner.domain_name}"


def _capacity(agent: AgentSpec) -> Sequence[int]:
    return [agent.capacity[name] for name in (CPU, MEM, CUDA_SHARES)]


def _time(number: int, *, long_ago: bool) -> str:
    at: datetime = QUEUE_START + timedelta(seconds=number) - (_LONG_AGO if long_ago else timedelta())
    return at.isoformat()
