"""What eight schedulers race over: two groups with shared owners, fifty agents, a thousand sessions."""

from random import Random
from typing import Final
from uuid import UUID

from scheduler_repo.entities.agent import AgentSpec
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
    OwnerScope,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SlotName,
    UserId,
)

CPU: Final = SlotName("cpu")
MEM: Final = SlotName("mem")
GROUPS: Final = (ScalingGroupName("east"), ScalingGroupName("west"))
DOMAIN: Final = DomainName("lab")
AGENTS_PER_GROUP: Final = 25
SESSIONS: Final = 1_000
CAPACITY: Final = {CPU: 16, MEM: 64}
AGENTS: Final = {
    group: tuple(AgentId(f"{group}-{number:02}") for number in range(AGENTS_PER_GROUP)) for group in GROUPS
}

_USERS: Final = tuple(UserId(UUID(int=number)) for number in range(1, 5))
_PROJECTS: Final = tuple(ProjectId(UUID(int=number)) for number in range(11, 14))
_KEYS: Final = tuple(AccessKey(f"key-{number}") for number in range(8))


def new_session(rng: Random) -> SessionCreationSpec:
    """A session of one to three kernels, of a random group and random owners."""
    key = rng.randrange(len(_KEYS))
    kernels = rng.choice((1, 1, 1, 2, 3))
    return SessionCreationSpec(
        name="racer",
        session_id=SessionId(UUID(int=rng.getrandbits(128))),
        scaling_group=rng.choice(GROUPS),
        access_key=_KEYS[key],
        user_id=_USERS[key % len(_USERS)],
        project_id=rng.choice(_PROJECTS),
        domain_name=DOMAIN,
        cluster_mode=ClusterMode.MULTI_NODE,
        priority=rng.choice((10, 10, 20)),
        kernels=tuple(
            KernelSpec(requested_slots={CPU: rng.randint(1, 4), MEM: rng.randint(1, 16)})
            for _ in range(kernels)
        ),
    )


def arena() -> ClusterSpec:
    """Agents with room for 800 cores, sessions that ask for some 4,000, and quotas that bind before that."""
    rng = Random(1)  # noqa: S311 - a workload, not a secret
    quotas = (
        *(
            QuotaSpec(
                scope=OwnerScope.ACCESS_KEY, owner_id=key, max_concurrent_sessions=30, slot_limits={CPU: 90}
            )
            for key in _KEYS
        ),
        *(QuotaSpec(scope=OwnerScope.USER, owner_id=str(user), slot_limits={CPU: 150}) for user in _USERS),
        *(
            QuotaSpec(scope=OwnerScope.PROJECT, owner_id=str(project), slot_limits={CPU: 180, MEM: 900})
            for project in _PROJECTS
        ),
        QuotaSpec(
            scope=OwnerScope.DOMAIN, owner_id=DOMAIN, max_concurrent_sessions=150, slot_limits={CPU: 480}
        ),
    )
    return ClusterSpec(
        slot_types=(SlotTypeSpec(name=CPU), SlotTypeSpec(name=MEM)),
        scaling_groups=tuple(ScalingGroupSpec(name=group) for group in GROUPS),
        agents=tuple(
            AgentSpec(
                agent_id=agent_id,
                scaling_group=group,
                address=f"{agent_id}:6001",
                architecture=Architecture("x86_64"),
                capacity=CAPACITY,
                max_containers=10,
            )
            for group in GROUPS
            for agent_id in AGENTS[group]
        ),
        owners=OwnersSpec(
            domains=(DOMAIN,),
            projects=tuple(
                ProjectSpec(project_id=project, name=f"project-{project.int}", domain_name=DOMAIN)
                for project in _PROJECTS
            ),
            users=tuple(UserSpec(user_id=user, name=f"user-{user.int}", domain_name=DOMAIN) for user in _USERS),
            keypairs=tuple(
                KeypairSpec(access_key=key, user_id=_USERS[number % len(_USERS)])
                for number, key in enumerate(_KEYS)
            ),
            quotas=quotas,
        ),
        sessions=tuple(new_session(rng) for _ in range(SESSIONS)),
    )
