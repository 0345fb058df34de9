"""Synthetic owners of sessions: domains, projects, users and access keys, with policies and quotas."""

from collections.abc import Sequence
from random import Random
from uuid import UUID, uuid5

import msgspec

from scheduler_repo.entities.owner import KeypairSpec, OwnersSpec, ProjectSpec, UserSpec
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.types import (
    AccessKey,
    DomainName,
    OwnerScope,
    ProjectId,
    ResourcePolicyName,
    SlotName,
    UserId,
)
from scheduler_repo.workload.slot_types import CPU, MEM, slot_amounts

DOMAIN_COUNT = 4
PROJECTS_PER_DOMAIN = 5
USERS_PER_DOMAIN = 40
MAX_KEYPAIRS_PER_USER = 2
_NAMESPACE = UUID("0b8a6c54-6a2e-5d1b-8a56-2f7d4f0e9c31")


class Naming(msgspec.Struct, frozen=True):
    """Makes the names and ids of one workload; workloads with different prefixes share none."""

    prefix: str
    seed: int

    def name(self, kind: str, number: int) -> str:
        """Name the ``number``-th thing of a kind."""
        return f"{self.prefix}-{kind}-{number:04d}"

    def uuid(self, kind: str, *numbers: int) -> UUID:
        """Return the id of a thing of a kind; it is the same in every run."""
        return uuid5(_NAMESPACE, f"{self.prefix}/{self.seed}/{kind}/{'/'.join(map(str, numbers))}")


class Owner(msgspec.Struct, frozen=True, gc=False):
    """The four owners that a session has."""

    access_key: AccessKey
    user_id: UserId
    project_id: ProjectId
    domain_name: DomainName


def make_owners(rng: Random, naming: Naming) -> OwnersSpec:
    """Make some 400 owners: 4 domains, 20 projects, 160 users with one or two access keys each."""
    domains = tuple(DomainName(naming.name("domain", number)) for number in range(DOMAIN_COUNT))
    projects = tuple(
        ProjectSpec(
            project_id=ProjectId(naming.uuid("project", number)),
            name=naming.name("project", number),
            domain_name=domains[number % DOMAIN_COUNT],
        )
        for number in range(DOMAIN_COUNT * PROJECTS_PER_DOMAIN)
    )
    users = tuple(
        UserSpec(
            user_id=UserId(naming.uuid("user", number)),
            name=naming.name("user", number),
            domain_name=domains[number % DOMAIN_COUNT],
        )
        for number in range(DOMAIN_COUNT * USERS_PER_DOMAIN)
    )
    keypairs = tuple(
        KeypairSpec(access_key=AccessKey(f"{naming.name('key', number)}-{index}"), user_id=user.user_id)
        for number, user in enumerate(users)
        for index in range(rng.randint(1, MAX_KEYPAIRS_PER_USER))
    )
    return OwnersSpec(domains=domains, projects=projects, users=users, keypairs=keypairs)


def combine_owners(rng: Random, owners: OwnersSpec) -> tuple[Owner, ...]:
    """Pair every access key with a project of its user's domain; sessions draw their owners from these."""
    domain_by_user = {user.user_id: user.domain_name for user in owners.users}
    projects_by_domain: dict[DomainName, list[ProjectId]] = {domain: [] for domain in owners.domains}
    for project in owners.projects:
        projects_by_domain[project.domain_name].append(project.project_id)
    return tuple(
        Owner(
            access_key=keypair.access_key,
            user_id=keypair.user_id,
            project_id=rng.choice(projects_by_domain[domain_by_user[keypair.user_id]]),
            domain_name=domain_by_user[keypair.user_id],
        )
        for keypair in owners.keypairs
    )


def set_varied_limits(rng: Random, naming: Naming, owners: OwnersSpec) -> OwnersSpec:
    """Limit some owners of every scope: most generously, some tightly, one access key to zero."""
    ample = _ample_policy(naming)
    standard = ResourcePolicySpec(
        name=ResourcePolicyName(f"{naming.prefix}-standard"),
        slot_limits=slot_amounts(512, 4096, gpu_milli=32_000),
        max_concurrent_sessions=50,
        max_kernels_per_session=8,
    )
    tight = ResourcePolicySpec(
        name=ResourcePolicyName(f"{naming.prefix}-tight"),
        slot_limits=slot_amounts(cores=8),
        max_concurrent_sessions=2,
        max_kernels_per_session=1,
    )
    quotas = [
        QuotaSpec(
            scope=OwnerScope.ACCESS_KEY,
            owner_id=owners.keypairs[0].access_key,
            resource_policy=ample.name,
            slot_limits=dict.fromkeys((CPU, MEM), 0),
        )
    ]
    quotas += [
        QuotaSpec(scope=OwnerScope.ACCESS_KEY, owner_id=access_key, resource_policy=policy.name)
        for access_key in _some(rng, [keypair.access_key for keypair in owners.keypairs[1:]], per_mille=400)
        for policy in rng.choices((ample, standard, tight), weights=(5, 4, 1))
    ]
    quotas += [
        QuotaSpec(
            scope=OwnerScope.USER,
            owner_id=user_id,
            slot_limits=_cpu_and_mem(cores=rng.choice((4, 64, 1024))),
            max_concurrent_sessions=rng.choice((None, 1, 20, 200)),
        )
        for user_id in _some(rng, [str(user.user_id) for user in owners.users], per_mille=200)
    ]
    quotas += [
        QuotaSpec(
            scope=OwnerScope.PROJECT,
            owner_id=project_id,
            resource_policy=rng.choice((None, ample.name)),
            slot_limits=slot_amounts(gpu_milli=rng.choice((2_000, 100_000, 1_000_000))),
        )
        for project_id in _some(rng, [str(project.project_id) for project in owners.projects], per_mille=500)
    ]
    quotas += [
        QuotaSpec(scope=OwnerScope.DOMAIN, owner_id=domain, slot_limits=_cpu_and_mem(cores=20_000))
        for domain in owners.domains[:2]
    ]
    return msgspec.structs.replace(owners, resource_policies=(ample, standard, tight), quotas=tuple(quotas))


def set_ample_limits(naming: Naming, owners: OwnersSpec) -> OwnersSpec:
    """Put every access key under one policy whose limits are read and checked but never reached."""
    ample = _ample_policy(naming)
    quotas = tuple(
        QuotaSpec(scope=OwnerScope.ACCESS_KEY, owner_id=keypair.access_key, resource_policy=ample.name)
        for keypair in owners.keypairs
    )
    return msgspec.structs.replace(owners, resource_policies=(ample,), quotas=quotas)


def _ample_policy(naming: Naming) -> ResourcePolicySpec:
    return ResourcePolicySpec(
        name=ResourcePolicyName(f"{naming.prefix}-ample"), slot_limits=_cpu_and_mem(cores=10**9)
    )


def _cpu_and_mem(cores: int) -> dict[SlotName, int]:
    return slot_amounts(cores, 8 * cores)


def _some(rng: Random, owner_ids: Sequence[str], per_mille: int) -> list[str]:
    return rng.sample(owner_ids, len(owner_ids) * per_mille // 1000)
