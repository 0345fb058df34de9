"""A cluster small enough to be read in a test: two slots, one owner, agents of ten cores."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Optional
from uuid import UUID

import msgspec

from scheduler_repo.entities.agent import AgentSpec
from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.kernel import KernelSpec
from scheduler_repo.entities.owner import KeypairSpec, OwnersSpec, ProjectSpec, UserSpec
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.scaling_group import ScalingGroupSpec
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.entities.slot_type import SlotTypeSpec
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    ClusterMode,
    DomainName,
    KernelId,
    OwnerScope,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SlotName,
    UserId,
)
from tests.support.databases import DriverConnection

CPU: Final = SlotName("cpu")


MEM: Final = SlotName("mem")


GROUP: Final = ScalingGroupName("gpu")


OTHER_GROUP: Final = ScalingGroupName("other")


CLOSED_GROUP: Final = ScalingGroupName("closed")


X86: Final = Architecture("x86_64")


ARM: Final = Architecture("aarch64")


ACCESS_KEY: Final = AccessKey("key")


USER: Final = UserId(UUID(int=1))


PROJECT: Final = ProjectId(UUID(int=2))


DOMAIN: Final = DomainName("lab")


# In quota order: scope and id of the one owner.
OWNER_IDS: Final[Mapping[OwnerScope, str]] = {
    OwnerScope.ACCESS_KEY: ACCESS_KEY,
    OwnerScope.USER: str(USER),
    OwnerScope.PROJECT: str(PROJECT),
    OwnerScope.DOMAIN: DOMAIN,
}


def session_id(number: int) -> SessionId:
    return SessionId(UUID(int=1_000 + number))


def kernel_id(number: int, index: int = 0) -> KernelId:
    return KernelId(UUID(int=1_000_000 + 100 * number + index))


def agent(
    name: str,
    *,
    cpu: int = 10,
    mem: int = 100,
    scaling_group: ScalingGroupName = GROUP,
    max_containers: Optional[int] = None,
) -> AgentSpec:
    return AgentSpec(
        agent_id=AgentId(name),
        scaling_group=scaling_group,
        address=f"tcp://{name}",
        architecture=X86,
        capacity={CPU: cpu, MEM: mem},
        max_containers=max_containers,
    )


def session(
    number: int,
    *cores: int,
    scaling_group: ScalingGroupName = GROUP,
    cluster_mode: ClusterMode = ClusterMode.MULTI_NODE,
    architecture: Optional[Architecture] = None,
    requested_start_at: Optional[datetime] = None,
    designated: tuple[AgentId, ...] = (),
    depends_on: tuple[SessionId, ...] = (),
) -> SessionCreationSpec:
    """A session with one kernel per number of cores, each with one of memory."""
    return SessionCreationSpec(
        session_id=session_id(number),
        name=f"session-{number}",
        scaling_group=scaling_group,
        access_key=ACCESS_KEY,
        user_id=USER,
        project_id=PROJECT,
        domain_name=DOMAIN,
        cluster_mode=cluster_mode,
        requested_start_at=requested_start_at,
        designated_agent_ids=designated,
        depends_on=depends_on,
        kernels=tuple(
            KernelSpec(
                kernel_id=kernel_id(number, index),
                architecture=architecture,
                requested_slots={CPU: amount, MEM: 1},
            )
            for index, amount in enumerate(cores)
        ),
    )


def cluster(
    agents: Sequence[AgentSpec], sessions: Sequence[SessionCreationSpec], quotas: Sequence[QuotaSpec] = ()
) -> ClusterSpec:
    """A cluster of three groups, one of which is closed."""
    return ClusterSpec(
        slot_types=(SlotTypeSpec(name=CPU), SlotTypeSpec(name=MEM)),
        scaling_groups=(
            ScalingGroupSpec(name=GROUP),
            ScalingGroupSpec(name=OTHER_GROUP),
            ScalingGroupSpec(name=CLOSED_GROUP, is_active=False),
        ),
        agents=tuple(agents),
        owners=OwnersSpec(
            domains=(DOMAIN,),
            projects=(ProjectSpec(project_id=PROJECT, name="vision", domain_name=DOMAIN),),
            users=(UserSpec(user_id=USER, name="ada", domain_name=DOMAIN),),
            keypairs=(KeypairSpec(access_key=ACCESS_KEY, user_id=USER),),
            quotas=tuple(quotas),
        ),
        sessions=tuple(sessions),
    )


def place(number: int, *agents: str) -> SessionAllocation:
    """Put the kernels of a session, by index, on these agents."""
    return SessionAllocation(
        session_id(number),
        tuple(KernelAllocation(kernel_id(number, index), AgentId(name)) for index, name in enumerate(agents)),
    )


class Ledger(msgspec.Struct, frozen=True):
    """What one agent is said to hold, and what its kernels hold."""

    cpu: int
    mem: int
    containers: int


async def ledger_of(connection: DriverConnection, agent_id: str) -> Ledger:
    """What the agent's row and its slots say."""
    slots = await connection.fetch("SELECT slot_name, occupied FROM agent_slots WHERE agent_id = $1", agent_id)
    occupied = {slot["slot_name"]: slot["occupied"] for slot in slots}
    containers = await connection.fetchval("SELECT container_count FROM agents WHERE id = $1", agent_id)
    return Ledger(occupied[CPU], occupied[MEM], containers)


async def held_on(connection: DriverConnection, agent_id: str) -> Ledger:
    """What the agent's kernels hold."""
    kernels = await connection.fetch(
        "SELECT occupied_slots FROM kernels"
        " WHERE agent_id = $1 AND status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')",
        agent_id,
    )
    cpu = sum(kernel["occupied_slots"][0] for kernel in kernels)
    mem = sum(kernel["occupied_slots"][1] for kernel in kernels)
    return Ledger(cpu, mem, len(kernels))


async def status_of(connection: DriverConnection, number: int) -> tuple[str, set[str]]:
    """The session's status, and those of its kernels."""
    status = await connection.fetchval("SELECT status FROM sessions WHERE id = $1", session_id(number))
    kernels = await connection.fetch(
        "SELECT DISTINCT status FROM kernels WHERE session_id = $1", session_id(number)
    )
    return status, {kernel["status"] for kernel in kernels}


async def history_of(connection: DriverConnection, number: int) -> list[tuple[Optional[str], str]]:
    """The changes of the session's status, in their order."""
    rows = await connection.fetch(
        "SELECT from_status, to_status FROM session_history"
        " WHERE session_id = $1 AND kernel_id IS NULL ORDER BY id",
        session_id(number),
    )
    return [(row["from_status"], row["to_status"]) for row in rows]
