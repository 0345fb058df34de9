"""A trace of a GPU cluster, two CSV files, as a cluster with its queue."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from uuid import UUID, uuid5

import msgspec

from scheduler_repo.entities.agent import AgentSpec
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.kernel import KernelSpec
from scheduler_repo.entities.owner import KeypairSpec, OwnersSpec, ProjectSpec, UserSpec
from scheduler_repo.entities.scaling_group import ScalingGroupSpec
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    DomainName,
    KernelId,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SlotName,
    UserId,
)
from scheduler_repo.workload.slot_types import (
    CPU,
    CPU_TYPE,
    CUDA_SHARES,
    CUDA_SHARES_TYPE,
    MEBIBYTE,
    MEM,
    MEM_TYPE,
    MILLI,
)
from scheduler_repo.workload.trace_file import TracePlace, read_rows, shorten

NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec", "qos", "creation_time")

# The trace counts seconds from its own start; a fixed date makes every reading the same.
TRACE_START = datetime(2023, 1, 1, tzinfo=UTC)

# Some 300 years: well within what a timestamp can hold.
MAX_CREATION_TIME = 10**10

# Tasks of one second are told apart by microseconds.
MAX_TASKS_PER_SECOND = 10**6
_NAMESPACE = UUID("6f1c8f0e-3d0b-5b0a-9f63-0d5a0c1a7be4")
_DOMAIN = DomainName("trace")
_ARCHITECTURE = Architecture("x86_64")
_MODEL_PLACEHOLDER = "no-agent-of-model:"


class _Task(msgspec.Struct, frozen=True, gc=False):
    place: TracePlace
    name: str
    requested_slots: Mapping[SlotName, int]
    gpu_spec: str
    project: str
    creation_time: int


def read_trace(nodes: Path, pods: Path, scaling_group: ScalingGroupName) -> ClusterSpec:
    """Read a trace as one scaling group: a node is an agent, a task a pending session of one kernel.

    ``nodes`` has the columns sn, cpu_milli, memory_mib, gpu, model; ``pods`` has name, cpu_milli, memory_mib,
    num_gpu, gpu_milli, gpu_spec, qos, creation_time (seconds). Slots: cpu in milli-cores, mem in bytes,
    cuda.shares in thousandths of a GPU (num_gpu * gpu_milli); amounts of zero are left out. The qos class is
    the project; one user with one access key owns all. gpu_spec ``A|B`` designates the agents of these models;
    if there are none it designates an agent that does not exist, so that the session waits instead of going to
    any agent.

    Sessions are ordered by creation time, those of one second as in the file; ``created_at`` is strictly
    increasing, and all ids follow from the names, so that two readings are equal.

    Raises InvalidTrace, in one line with the file's name and line, for anything that cannot be read exactly.
    Reads each file once; takes about 15 µs a row.
    """
    agents, agents_by_model = _read_nodes(nodes, scaling_group)
    tasks = _read_tasks(pods)
    user_id = UserId(uuid5(_NAMESPACE, "user:trace"))
    access_key = AccessKey("trace")
    projects = sorted({task.project for task in tasks})
    project_ids = {name: ProjectId(uuid5(_NAMESPACE, f"project:{name}")) for name in projects}
    gpu_specs = {task.gpu_spec for task in tasks}
    designated = {gpu_spec: _designated_agents(gpu_spec, agents_by_model) for gpu_spec in gpu_specs}
    sessions = tuple(
        SessionCreationSpec(
            name=task.name,
            scaling_group=scaling_group,
            access_key=access_key,
            user_id=user_id,
            project_id=project_ids[task.project],
            domain_name=_DOMAIN,
            kernels=(
                KernelSpec(
                    requested_slots=task.requested_slots,
                    kernel_id=KernelId(uuid5(_NAMESPACE, f"kernel:{task.name}")),
                ),
            ),
            created_at=created,
            designated_agent_ids=designated[task.gpu_spec],
            session_id=SessionId(uuid5(_NAMESPACE, f"session:{task.name}")),
        )
        for task, created in zip(tasks, _creation_times(tasks), strict=True)
    )
    return ClusterSpec(
        slot_types=(CPU_TYPE, MEM_TYPE, CUDA_SHARES_TYPE),
        scaling_groups=(ScalingGroupSpec(name=scaling_group),),
        agents=tuple(agents),
        owners=OwnersSpec(
            domains=(_DOMAIN,),
            projects=tuple(
                ProjectSpec(project_id=project_id, name=name, domain_name=_DOMAIN)
                for name, project_id in project_ids.items()
            ),
            users=(UserSpec(user_id=user_id, name="trace", domain_name=_DOMAIN),),
            keypairs=(KeypairSpec(access_key=access_key, user_id=user_id),),
        ),
        sessions=sessions,
    )


def _read_nodes(
    path: Path, scaling_group: ScalingGroupName
) -> tuple[list[AgentSpec], dict[str, list[AgentId]]]:
    agents: list[AgentSpec] = []
    agents_by_model: dict[str, list[AgentId]] = {}
    first_lines: dict[str, int] = {}
    for place, (sn, cpu, mem, gpu, model) in read_rows(path, NODE_COLUMNS):
        agent_id = AgentId(_new_name(place, "sn", sn, first_lines))
        if agent_id.startswith(_MODEL_PLACEHOLDER):
            raise place.error(f"sn starts with {_MODEL_PLACEHOLDER}, which stands for agents that do not exist")
        capacity = _without_zeros(
            {
                CPU: place.parse_whole_number("cpu_milli", cpu),
                MEM: place.parse_whole_number("memory_mib", mem, MEBIBYTE),
                CUDA_SHARES: place.parse_whole_number("gpu", gpu, MILLI),
            }
        )
        if not capacity:
            raise place.error("the node has no capacity: cpu_milli, memory_mib and gpu are all 0")
        if model:
            agents_by_model.setdefault(place.check_name("model", model), []).append(agent_id)
        agents.append(
            AgentSpec(
                agent_id=agent_id,
                scaling_group=scaling_group,
                address=agent_id,
                architecture=_ARCHITECTURE,
                capacity=capacity,
            )
        )
    return agents, agents_by_model


def _read_tasks(path: Path) -> list[_Task]:
    """Read all tasks, in the order of creation."""
    tasks: list[_Task] = []
    first_lines: dict[str, int] = {}
    for place, fields in read_rows(path, POD_COLUMNS):
        name, cpu, mem, gpu_count, gpu_milli, gpu_spec, qos, creation_time = fields
        _new_name(place, "name", name, first_lines)
        shares = place.parse_whole_number("num_gpu", gpu_count)
        shares *= place.parse_whole_number("gpu_milli", gpu_milli)
        requested_slots = _without_zeros(
            {
                CPU: place.parse_whole_number("cpu_milli", cpu),
                MEM: place.parse_whole_number("memory_mib", mem, MEBIBYTE),
                CUDA_SHARES: place.check_amount("num_gpu * gpu_milli", f"{gpu_count} * {gpu_milli}", shares),
            }
        )
        if not requested_slots:
            raise place.error(
                "the task asks for nothing: cpu_milli, memory_mib and num_gpu * gpu_milli are all 0"
            )
        if gpu_spec:
            for model in gpu_spec.split("|"):
                place.check_name("a model of gpu_spec", model)
        seconds = place.parse_whole_number("creation_time", creation_time)
        if seconds > MAX_CREATION_TIME:
            raise place.error(f"creation_time {seconds} is above {MAX_CREATION_TIME} seconds")
        tasks.append(_Task(place, name, requested_slots, gpu_spec, place.check_name("qos", qos), seconds))
    return sorted(tasks, key=attrgetter("creation_time"))


def _new_name(place: TracePlace, column: str, name: str, first_lines: dict[str, int]) -> str:
    first_line = first_lines.setdefault(place.check_name(column, name), place.line)
    if first_line != place.line:
        raise place.error(f"{column} {shorten(name)!r} is taken: it was first used in line {first_line}")
    return name


def _without_zeros(amounts: dict[SlotName, int]) -> dict[SlotName, int]:
    return {name: amount for name, amount in amounts.items() if amount}


def _creation_times(tasks: list[_Task]) -> list[datetime]:
    times: list[datetime] = []
    for second, together in groupby(tasks, attrgetter("creation_time")):
        for rank, task in enumerate(together):
            if rank >= MAX_TASKS_PER_SECOND:
                many = f"more than {MAX_TASKS_PER_SECOND} tasks"
                raise task.place.error(f"{many} have creation_time {second}; spread them")
            times.append(TRACE_START + timedelta(seconds=second, microseconds=rank))
    return times


def _designated_agents(gpu_spec: str, agents_by_model: Mapping[str, list[AgentId]]) -> tuple[AgentId, ...]:
    if not gpu_spec:
        return ()
    models = sorted(set(gpu_spec.split("|")))
    agents = {agent_id for model in models for agent_id in agents_by_model.get(model, ())}
    # No designated agent would mean any agent.
    return tuple(sorted(agents)) or tuple(AgentId(_MODEL_PLACEHOLDER + model) for model in models)
