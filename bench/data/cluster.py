"""The surroundings of a synthetic cluster's sessions: groups, agents, and owners with policies and quotas.

The same seed makes the same cluster. Pure: a ClusterSpec, which ClusterRepository loads.
"""

from typing import Final, Optional

import msgspec

from bench.data.sizes import KERNELS_PER_FIVE_SESSIONS, ClusterSize
from scheduler_repo.entities.agent import AgentSpec
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.owner import KeypairSpec, OwnersSpec, ProjectSpec, UserSpec
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.entities.scaling_group import ScalingGroupSpec
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    DomainName,
    OwnerScope,
    ProjectId,
    ResourcePolicyName,
    ScalingGroupName,
    UserId,
)
from scheduler_repo.workload.owners import Naming, Owner
from scheduler_repo.workload.slot_types import CPU_TYPE, CUDA_SHARES_TYPE, MEM_TYPE, slot_amounts

# The group that the suites measure; "bench-" and a number are the others.
GROUP: Final = ScalingGroupName("bench")
DEFAULT_SEED: Final = 1
DOMAINS: Final = 2
PROJECTS: Final = 20
PENDING_PER_USER: Final = 20
SHARE_OF_ANOTHER_GROUP: Final = 10  # per cent
_OTHER_GROUPS: Final = 3
# One user in ten may have only so many sessions at a time, which holds some of the queue back.
_LIMITED_USERS: Final = 10
_LIMITED_SESSIONS: Final = 25
# How many kernels run on an agent of the usual capacity; it has room for about as many more.
_KERNELS_PER_AGENT: Final = 8


class Shape(msgspec.Struct, frozen=True):
    """The shape of a cluster: its size, how its groups share it, and the seed of all that is drawn.

    ``shares`` are the groups' parts in per cent, the first one is GROUP's. The agents have room for
    ``most_running`` sessions, those of the size unless it is given.
    """

    size: ClusterSize
    shares: tuple[int, ...] = (100 - _OTHER_GROUPS * SHARE_OF_ANOTHER_GROUP,) + (
        SHARE_OF_ANOTHER_GROUP,
    ) * _OTHER_GROUPS
    seed: int = DEFAULT_SEED
    most_running: Optional[int] = None

    @property
    def groups(self) -> tuple[ScalingGroupName, ...]:
        """The names of the groups, in the order of their shares."""
        return (GROUP, *(ScalingGroupName(f"{GROUP}-{number}") for number in range(1, len(self.shares))))

    @property
    def users(self) -> int:
        """How many users there are, each with one access key."""
        return max(PROJECTS, self.size.pending // PENDING_PER_USER)

    def split(self, count: int) -> tuple[int, ...]:
        """Share a count out among the groups; the first one takes what cannot be divided."""
        others = [count * share // 100 for share in self.shares[1:]]
        return (count - sum(others), *others)


class Surroundings(msgspec.Struct, frozen=True):
    """A cluster without sessions, and what sessions need to know of it: whose they may be, and the agents."""

    cluster: ClusterSpec
    owners: tuple[Owner, ...]
    agents: dict[ScalingGroupName, tuple[AgentSpec, ...]]


def make_surroundings(shape: Shape) -> Surroundings:
    """Make groups, agents and owners; takes about 10 µs an agent and a user."""
    naming = Naming(GROUP, shape.seed)
    owners = _make_owners(shape, naming)
    agents = _make_agents(shape)
    cluster = ClusterSpec(
        slot_types=(CPU_TYPE, MEM_TYPE, CUDA_SHARES_TYPE),
        scaling_groups=tuple(ScalingGroupSpec(name=group) for group in shape.groups),
        agents=tuple(agent for of_group in agents.values() for agent in of_group),
        owners=owners,
    )
    projects = [project.project_id for project in owners.projects]
    pairs = zip(owners.users, owners.keypairs, strict=True)
    return Surroundings(
        cluster,
        tuple(
            Owner(keypair.access_key, user.user_id, projects[number % PROJECTS], user.domain_name)
            for number, (user, keypair) in enumerate(pairs)
        ),
        agents,
    )


def _make_agents(shape: Shape) -> dict[ScalingGroupName, tuple[AgentSpec, ...]]:
    running = shape.size.running if shape.most_running is None else shape.most_running
    running_kernels = running * KERNELS_PER_FIVE_SESSIONS // 5
    times = max(1, -(-running_kernels // (_KERNELS_PER_AGENT * max(1, shape.size.agents))))
    capacity = slot_amounts(96 * times, 768 * times, gpu_milli=8_000 * times)
    return {
        group: tuple(
            AgentSpec(
                agent_id=(agent_id := AgentId(f"{group}-agent-{number:05d}")),
                scaling_group=group,
                address=f"{agent_id}:6001",
                architecture=Architecture("x86_64"),
                capacity=capacity,
            )
            for number in range(count)
        )
        for group, count in zip(shape.groups, shape.split(shape.size.agents), strict=True)
    }


def _make_owners(shape: Shape, naming: Naming) -> OwnersSpec:
    """Make owners of every scope, all of them limited: most so generously that it is never reached."""
    ample = ResourcePolicySpec(
        name=ResourcePolicyName(f"{GROUP}-ample"),
        slot_limits=slot_amounts(10**9, 8 * 10**9),
        max_kernels_per_session=64,
    )
    domains = tuple(DomainName(naming.name("domain", number)) for number in range(DOMAINS))
    projects = tuple(
        ProjectSpec(
            project_id=ProjectId(naming.uuid("project", number)),
            name=naming.name("project", number),
            domain_name=domains[number % DOMAINS],
        )
        for number in range(PROJECTS)
    )
    users = tuple(
        UserSpec(
            user_id=UserId(naming.uuid("user", number)),
            name=naming.name("user", number),
            domain_name=domains[number % DOMAINS],
        )
        for number in range(shape.users)
    )
    keypairs = tuple(
        KeypairSpec(access_key=AccessKey(naming.name("key", number)), user_id=user.user_id)
        for number, user in enumerate(users)
    )
    return OwnersSpec(
        domains=domains,
        projects=projects,
        users=users,
        keypairs=keypairs,
        resource_policies=(ample,),
        quotas=(
            *(
                QuotaSpec(scope=OwnerScope.ACCESS_KEY, owner_id=each.access_key, resource_policy=ample.name)
                for each in keypairs
            ),
            *(
                QuotaSpec(
                    scope=OwnerScope.USER,
                    owner_id=str(user.user_id),
                    slot_limits=ample.slot_limits,
                    max_concurrent_sessions=None if number % _LIMITED_USERS else _LIMITED_SESSIONS,
                )
                for number, user in enumerate(users)
            ),
            *(
                QuotaSpec(
                    scope=OwnerScope.PROJECT,
                    owner_id=str(each.project_id),
                    slot_limits=slot_amounts(gpu_milli=10**12),
                )
                for each in projects
            ),
            *(
                QuotaSpec(scope=OwnerScope.DOMAIN, owner_id=each, slot_limits=ample.slot_limits)
                for each in domains
            ),
        ),
    )
