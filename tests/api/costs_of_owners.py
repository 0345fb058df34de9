"""The statement counts of asking for owners, policies and quotas, and of changing them."""

from collections.abc import Awaitable, Sequence
from uuid import UUID

from scheduler_repo.entities.owner import KeypairSpec, OwnersSpec, ProjectSpec, UserSpec
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.repositories.owner.db_source import OwnerDBSource
from scheduler_repo.repositories.owner.repository import OwnerRepository
from scheduler_repo.repositories.quota.db_source import QuotaDBSource
from scheduler_repo.repositories.quota.repository import QuotaRepository
from scheduler_repo.repositories.resource_policy.db_source import ResourcePolicyDBSource
from scheduler_repo.repositories.resource_policy.repository import ResourcePolicyRepository
from scheduler_repo.types import (
    AccessKey,
    DomainName,
    OwnerScope,
    ProjectId,
    ResourcePolicyName,
    SlotName,
    UserId,
)
from tests.api.statement_table import costs
from tests.api.world import World
from tests.support.small_cluster import ACCESS_KEY, DOMAIN, PROJECT, USER


def _owners(world: World) -> OwnerRepository:
    return OwnerRepository(OwnerDBSource(world.engine))


def _quotas(world: World) -> QuotaRepository:
    return QuotaRepository(QuotaDBSource(world.engine))


def _policies(world: World) -> ResourcePolicyRepository:
    return ResourcePolicyRepository(ResourcePolicyDBSource(world.engine))


def _policy_names(world: World, size: int) -> list[ResourcePolicyName]:
    return [ResourcePolicyName(f"policy-{number}") for number in world.numbers(size)]


async def _with_policies(world: World, size: int) -> list[ResourcePolicyName]:
    names = _policy_names(world, size)
    await _policies(world).set_resource_policies([ResourcePolicySpec(name=name) for name in names])
    return names


def _some_owners(world: World, size: int) -> OwnersSpec:
    """A domain, with so many projects, users and keypairs."""
    (number,) = world.numbers(1)
    domain = DomainName(f"domain-{number}")
    numbers = world.numbers(size)
    users = tuple(
        UserSpec(user_id=UserId(UUID(int=2**90 + each)), name=f"user-{each}", domain_name=domain)
        for each in numbers
    )
    return OwnersSpec(
        domains=(domain,),
        projects=tuple(
            ProjectSpec(project_id=ProjectId(UUID(int=2**91 + each)), name=f"p-{each}", domain_name=domain)
            for each in numbers
        ),
        users=users,
        keypairs=tuple(
            KeypairSpec(access_key=AccessKey(f"key-{user.name}"), user_id=user.user_id) for user in users
        ),
    )


async def _with_owners(world: World, size: int) -> OwnersSpec:
    owners = _some_owners(world, size)
    await _owners(world).register_owners(owners)
    return owners


def _quotas_of(users: Sequence[UserSpec]) -> tuple[QuotaSpec, ...]:
    return tuple(
        QuotaSpec(scope=OwnerScope.USER, owner_id=str(user.user_id), slot_limits={SlotName("cpu"): 10})
        for user in users
    )


def _all_owners(world: World, size: int) -> OwnersSpec:
    """The same, with as many policies and quotas."""
    owners = _some_owners(world, size)
    policies = tuple(ResourcePolicySpec(name=name) for name in _policy_names(world, size))
    return OwnersSpec(
        domains=owners.domains,
        projects=owners.projects,
        users=owners.users,
        keypairs=owners.keypairs,
        resource_policies=policies,
        quotas=_quotas_of(owners.users),
    )


@costs("OwnerRepository.register_owners", 14)
async def _(world: World, size: int) -> Awaitable[object]:
    return _owners(world).register_owners(_all_owners(world, size))


@costs("OwnerRepository.register_owners, who are there", 14)
async def _(world: World, size: int) -> Awaitable[object]:
    spec = _all_owners(world, size)
    await _owners(world).register_owners(spec)
    return _owners(world).register_owners(spec)


@costs("OwnerRepository.get_domain", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _owners(world).get_domain(DOMAIN)


@costs("OwnerRepository.find_domain", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _owners(world).find_domain(DOMAIN)


@costs("OwnerRepository.get_project", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _owners(world).get_project(PROJECT)


@costs("OwnerRepository.find_project", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _owners(world).find_project(PROJECT)


@costs("OwnerRepository.get_user", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _owners(world).get_user(USER)


@costs("OwnerRepository.find_user", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _owners(world).find_user(USER)


@costs("OwnerRepository.get_keypair", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _owners(world).get_keypair(ACCESS_KEY)


@costs("OwnerRepository.find_keypair", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    return _owners(world).find_keypair(ACCESS_KEY)


@costs("OwnerRepository.list_keypairs", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    keypairs = tuple(
        KeypairSpec(access_key=AccessKey(f"another-{number}"), user_id=USER) for number in world.numbers(size)
    )
    await _owners(world).register_owners(OwnersSpec(keypairs=keypairs))
    return _owners(world).list_keypairs(USER)


@costs("OwnerRepository.search_domains", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    names = tuple(DomainName(f"another-{number}") for number in world.numbers(size))
    await _owners(world).register_owners(OwnersSpec(domains=names))
    return _owners(world).search_domains(limit=size)


@costs("OwnerRepository.search_projects", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    (domain,) = (await _with_owners(world, size)).domains
    return _owners(world).search_projects(domain, limit=size)


@costs("OwnerRepository.search_users", 3)
async def _(world: World, size: int) -> Awaitable[object]:
    (domain,) = (await _with_owners(world, size)).domains
    return _owners(world).search_users(domain, limit=size)


@costs("OwnerRepository.set_domains_active", 5)
async def _(world: World, size: int) -> Awaitable[object]:
    names = tuple(DomainName(f"closed-{number}") for number in world.numbers(size))
    await _owners(world).register_owners(OwnersSpec(domains=names))
    return _owners(world).set_domains_active(names, False)


@costs("OwnerRepository.set_projects_active", 5)
async def _(world: World, size: int) -> Awaitable[object]:
    projects = (await _with_owners(world, size)).projects
    return _owners(world).set_projects_active([project.project_id for project in projects], False)


@costs("OwnerRepository.set_users_active", 5)
async def _(world: World, size: int) -> Awaitable[object]:
    users = (await _with_owners(world, size)).users
    return _owners(world).set_users_active([user.user_id for user in users], False)


@costs("OwnerRepository.set_keypairs_active", 5)
async def _(world: World, size: int) -> Awaitable[object]:
    keypairs = (await _with_owners(world, size)).keypairs
    return _owners(world).set_keypairs_active([keypair.access_key for keypair in keypairs], False)


@costs("ResourcePolicyRepository.get_resource_policy", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    (name, *_) = await _with_policies(world, size)
    return _policies(world).get_resource_policy(name)


@costs("ResourcePolicyRepository.find_resource_policy", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    (name, *_) = await _with_policies(world, size)
    return _policies(world).find_resource_policy(name)


@costs("ResourcePolicyRepository.list_resource_policies", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    await _with_policies(world, size)
    return _policies(world).list_resource_policies(limit=size)


@costs("ResourcePolicyRepository.search_resource_policies", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    await _with_policies(world, size)
    return _policies(world).search_resource_policies(limit=size)


@costs("ResourcePolicyRepository.set_resource_policies", 7)
async def _(world: World, size: int) -> Awaitable[object]:
    names = await _with_policies(world, size)
    users = (await _with_owners(world, size)).users
    # Each is some owner's, and each is changed.
    quotas = [
        QuotaSpec(scope=OwnerScope.USER, owner_id=str(user.user_id), resource_policy=name)
        for user, name in zip(users, names, strict=True)
    ]
    await _quotas(world).set_quotas(quotas)
    policies = [ResourcePolicySpec(name=name, max_concurrent_sessions=3) for name in names]
    return _policies(world).set_resource_policies(policies)


@costs("QuotaRepository.set_quotas", 9)
async def _(world: World, size: int) -> Awaitable[object]:
    return _quotas(world).set_quotas(_quotas_of((await _with_owners(world, size)).users))


@costs("QuotaRepository.get_quota", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    (quota, *_) = quotas = _quotas_of((await _with_owners(world, size)).users)
    await _quotas(world).set_quotas(quotas)
    return _quotas(world).get_quota(quota.scope, quota.owner_id)


@costs("QuotaRepository.find_quota", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    return _quotas(world).find_quota(OwnerScope.DOMAIN, DOMAIN)


@costs("QuotaRepository.list_quotas", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    await _quotas(world).set_quotas(_quotas_of((await _with_owners(world, size)).users))
    return _quotas(world).list_quotas(limit=size)


@costs("QuotaRepository.search_quotas", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    await _quotas(world).set_quotas(_quotas_of((await _with_owners(world, size)).users))
    return _quotas(world).search_quotas(limit=size)


@costs("QuotaRepository.get_effective_limits", 4)
async def _(world: World, size: int) -> Awaitable[object]:
    return _quotas(world).get_effective_limits(OwnerScope.DOMAIN, DOMAIN)


@costs("QuotaRepository.get_usage", 6)
async def _(world: World, size: int) -> Awaitable[object]:
    await world.running(size)
    return _quotas(world).get_usage(OwnerScope.DOMAIN, DOMAIN)


@costs("QuotaRepository.set_quotas, as they are", 8)
async def _(world: World, size: int) -> Awaitable[object]:
    quotas = _quotas_of((await _with_owners(world, size)).users)
    await _quotas(world).set_quotas(quotas)
    return _quotas(world).set_quotas(quotas)
