"""Synthetic clusters with a queue, the same in every run with the same seed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Optional

import msgspec

from scheduler_repo.entities.agent import AgentSpec
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.kernel import KernelSpec
from scheduler_repo.entities.scaling_group import ScalingGroupSpec
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.errors import InvalidInput
from scheduler_repo.types import (
    AgentId,
    Architecture,
    ClusterMode,
    KernelId,
    ScalingGroupName,
    SessionId,
    SessionType,
    SlotName,
)
from scheduler_repo.workload.owners import (
    Naming,
    Owner,
    combine_owners,
    make_owners,
    set_ample_limits,
    set_varied_limits,
)
from scheduler_repo.workload.slot_types import (
    CPU_TYPE,
    CUDA_DEVICE,
    CUDA_DEVICE_TYPE,
    CUDA_SHARES,
    CUDA_SHARES_TYPE,
    MEM_TYPE,
    slot_amounts,
)

MAX_AGENTS = 100_000
MAX_SESSIONS = 1_000_000
MAX_KERNELS = 2_000_000
DEFAULT_SCALING_GROUP = ScalingGroupName("default")
QUEUE_START = datetime(2025, 1, 1, tzinfo=UTC)

# Far enough ahead to stay in the future: no clock is read here.
FUTURE_START = datetime(2100, 1, 1, tzinfo=UTC)
_X86_64 = Architecture("x86_64")
_AARCH64 = Architecture("aarch64")


class _AgentModel(msgspec.Struct, frozen=True):
    weight: int
    architecture: Architecture
    capacity: Mapping[SlotName, int]


_QUEUE_AGENT = _AgentModel(1, _X86_64, slot_amounts(96, 768, gpu_milli=8_000))
_AGENT_MODELS = (
    _AgentModel(25, _X86_64, slot_amounts(64, 256)),
    _AgentModel(15, _X86_64, slot_amounts(32, 128)),
    _AgentModel(12, _AARCH64, slot_amounts(128, 512)),
    _AgentModel(12, _X86_64, slot_amounts(48, 384, gpus=4)),
    _AgentModel(14, _X86_64, slot_amounts(96, 768, gpus=8)),
    _AgentModel(10, _X86_64, slot_amounts(48, 384, gpu_milli=4_000)),
    _AgentModel(12, _X86_64, slot_amounts(96, 768, gpu_milli=8_000)),
)


def synthetic_cluster(
    agents: int, sessions: int, seed: int, scaling_group: ScalingGroupName = DEFAULT_SCALING_GROUP
) -> ClusterSpec:
    """Make one group as in practice: mixed agents, some 400 owners, a queue with every feature.

    Agents with and without GPUs (whole or shared) of two architectures; policies and quotas, some tight and one
    of zero; priorities, sessions of one to eight kernels, dependencies on earlier sessions, designated agents,
    start times that have passed or are far ahead. Not all sessions can be placed. Names and ids carry the
    group's name, so that several groups can be loaded side by side.

    Raises InvalidInput for counts below 0, above 100,000 agents and above 1,000,000 sessions. Takes about 25 µs
    a session.
    """
    _check_count("agents", agents, 0, MAX_AGENTS)
    _check_count("sessions", sessions, 0, MAX_SESSIONS)
    maker = _Maker(seed, scaling_group)
    rng = maker.rng
    owners = set_varied_limits(rng, maker.naming, make_owners(rng, maker.naming))
    choices = combine_owners(rng, owners)
    models = rng.choices(_AGENT_MODELS, weights=[model.weight for model in _AGENT_MODELS], k=agents)
    agent_specs = tuple(
        maker.make_agent(number, model, rng.choices((None, 32), weights=(9, 1))[0])
        for number, model in enumerate(models)
    )
    agent_ids = [agent.agent_id for agent in agent_specs]
    created_at = QUEUE_START
    session_specs = []
    for number in range(sessions):
        created_at += timedelta(seconds=rng.randrange(30))
        session_specs.append(maker.make_varied_session(number, rng.choice(choices), created_at, agent_ids))
    return ClusterSpec(
        slot_types=(CPU_TYPE, MEM_TYPE, CUDA_DEVICE_TYPE, CUDA_SHARES_TYPE),
        scaling_groups=(ScalingGroupSpec(name=scaling_group),),
        agents=agent_specs,
        owners=owners,
        sessions=tuple(session_specs),
    )


def synthetic_queue(
    agents: int = 1_000,
    sessions: int = 10_000,
    kernels: int = 16_000,
    seed: int = 1,
    scaling_group: ScalingGroupName = DEFAULT_SCALING_GROUP,
) -> ClusterSpec:
    """Make one group with exactly so many agents, pending sessions and kernels, for measuring.

    Agents are alike; every kernel requests all three slots (cpu, mem, cuda.shares) and fits any empty agent; at
    the default counts they request less than there is. Every access key has an ample policy. Nothing holds a
    session back: no dependencies, designated agents or start times.

    Raises InvalidInput for counts below 0, above 100,000 agents, 1,000,000 sessions and 2,000,000 kernels, and
    for fewer kernels than sessions. Takes about 10 µs a kernel.
    """
    _check_count("agents", agents, 0, MAX_AGENTS)
    _check_count("sessions", sessions, 0, MAX_SESSIONS)
    _check_count("kernels", kernels, sessions, MAX_KERNELS if sessions else 0)
    maker = _Maker(seed, scaling_group)
    rng = maker.rng
    owners = set_ample_limits(maker.naming, make_owners(rng, maker.naming))
    choices = combine_owners(rng, owners)
    kernel_counts = [1] * sessions
    for _ in range(kernels - sessions):
        kernel_counts[rng.randrange(sessions)] += 1
    session_specs = []
    for number, kernel_count in enumerate(kernel_counts):
        cores, gibibytes = rng.choice((1, 2, 4, 8)), rng.choice((4, 8, 16, 32))
        requested_slots = slot_amounts(cores, gibibytes, gpu_milli=rng.randrange(50, 801, 50))
        session = maker.make_session(number, rng.choice(choices), QUEUE_START + timedelta(seconds=number))
        session_specs.append(
            msgspec.structs.replace(
                session,
                kernels=maker.make_kernels(number, kernel_count, requested_slots, None),
                cluster_mode=maker.draw_cluster_mode(kernel_count),
                priority=rng.choice((10, 10, 10, 20)),
            )
        )
    return ClusterSpec(
        slot_types=(CPU_TYPE, MEM_TYPE, CUDA_SHARES_TYPE),
        scaling_groups=(ScalingGroupSpec(name=scaling_group),),
        agents=tuple(maker.make_agent(number, _QUEUE_AGENT, None) for number in range(agents)),
        owners=owners,
        sessions=tuple(session_specs),
    )


def _check_count(subject: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise InvalidInput(f"{subject} must be a whole number from {least} to {most}, found {value!r}")


class _Maker:
    """Makes the agents and sessions of one group; every draw is from ``rng``, in the order of the calls."""

    def __init__(self, seed: int, scaling_group: ScalingGroupName) -> None:
        given: object = seed
        if type(given) is not int:
            raise InvalidInput(f"seed must be a whole number, as it is what repeats a run, found {given!r}")
        self.rng = Random(seed)  # noqa: S311 - a workload, not a secret
        self.naming = Naming(scaling_group, seed)
        self._scaling_group = scaling_group

    def make_agent(self, number: int, model: _AgentModel, max_containers: Optional[int]) -> AgentSpec:
        agent_id = AgentId(self.naming.name("agent", number))
        return AgentSpec(
            agent_id=agent_id,
            scaling_group=self._scaling_group,
            address=f"{agent_id}:6001",
            architecture=model.architecture,
            capacity=model.capacity,
            max_containers=max_containers,
        )

    def make_session(self, number: int, owner: Owner, created_at: datetime) -> SessionCreationSpec:
        """Make a session without kernels."""
        return SessionCreationSpec(
            name=self.naming.name("session", number),
            scaling_group=self._scaling_group,
            kernels=(),
            created_at=created_at,
            session_id=self._session_id(number),
            **msgspec.structs.asdict(owner),
        )

    def make_varied_session(
        self, number: int, owner: Owner, created_at: datetime, agent_ids: Sequence[AgentId]
    ) -> SessionCreationSpec:
        kernel_count = self.rng.choices((1, 2, 4, 8), weights=(80, 8, 8, 4))[0]
        session_type = self.rng.choices(tuple(SessionType), weights=(25, 60, 13, 2))[0]
        requested_slots, architecture = self._draw_request()
        return msgspec.structs.replace(
            self.make_session(number, owner, created_at),
            kernels=self.make_kernels(number, kernel_count, requested_slots, architecture),
            session_type=session_type,
            cluster_mode=self.draw_cluster_mode(kernel_count),
            priority=self.rng.choices((0, 10, 20, 100), weights=(10, 70, 15, 5))[0],
            requested_start_at=self._draw_start(created_at),
            designated_agent_ids=self._draw_designated(agent_ids),
            depends_on=self._draw_dependencies(number),
        )

    def make_kernels(
        self,
        session_number: int,
        count: int,
        slots: Mapping[SlotName, int],
        architecture: Optional[Architecture],
    ) -> tuple[KernelSpec, ...]:
        return tuple(
            KernelSpec(
                requested_slots=slots,
                image="registry.example/python:3.11",
                architecture=architecture,
                kernel_id=KernelId(self.naming.uuid("kernel", session_number, index)),
            )
            for index in range(count)
        )

    def draw_cluster_mode(self, kernel_count: int) -> ClusterMode:
        return ClusterMode.SINGLE_NODE if kernel_count == 1 else self.rng.choice(tuple(ClusterMode))

    def _session_id(self, number: int) -> SessionId:
        return SessionId(self.naming.uuid("session", number))

    def _draw_request(self) -> tuple[dict[SlotName, int], Optional[Architecture]]:
        cores = self.rng.choice((1, 2, 4, 8, 16))
        gibibytes = cores * self.rng.choice((2, 4, 8))
        gpu = self.rng.choices((None, CUDA_DEVICE, CUDA_SHARES), weights=(40, 30, 30))[0]
        if gpu is None:
            return slot_amounts(cores, gibibytes), self.rng.choice((None, _X86_64, _AARCH64))
        if gpu == CUDA_DEVICE:
            requested_slots = slot_amounts(cores, gibibytes, gpus=self.rng.choice((1, 1, 1, 2, 4, 8)))
        else:
            gpu_milli = self.rng.choice((100, 250, 460, 500, 810, 1_000, 2_000))
            requested_slots = slot_amounts(cores, gibibytes, gpu_milli=gpu_milli)
        return requested_slots, self.rng.choice((None, _X86_64))

    def _draw_start(self, created_at: datetime) -> Optional[datetime]:
        draw = self.rng.randrange(100)
        if draw < 3:
            return FUTURE_START + timedelta(hours=draw)
        return created_at + timedelta(hours=1) if draw < 6 else None

    def _draw_designated(self, agent_ids: Sequence[AgentId]) -> tuple[AgentId, ...]:
        if not agent_ids or self.rng.randrange(100) >= 4:
            return ()
        return tuple(sorted(self.rng.sample(agent_ids, self.rng.randint(1, min(5, len(agent_ids))))))

    def _draw_dependencies(self, number: int) -> tuple[SessionId, ...]:
        # On earlier sessions only, so that there are no cycles.
        if not number or self.rng.randrange(100) >= 6:
            return ()
        earlier = self.rng.sample(range(number), self.rng.randint(1, min(3, number)))
        return tuple(map(self._session_id, earlier))
