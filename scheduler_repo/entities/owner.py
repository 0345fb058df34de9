"""Owners: domains, projects, users, keypairs. ``is_active`` was set on one itself; nothing here acts on it."""

from datetime import datetime

import msgspec

from scheduler_repo.entities.quota import QuotaSpec, check_quota
from scheduler_repo.entities.resource_policy import ResourcePolicySpec, check_policy
from scheduler_repo.entities.spec import Spec
from scheduler_repo.steps import Steps
from scheduler_repo.types import AccessKey, DomainName, ProjectId, UserId
from scheduler_repo.validation import check_id, check_name, checked_batch, wrong_value


class DomainInfo(msgspec.Struct, frozen=True):
    """A tenant: the outermost owner."""

    name: DomainName
    is_active: bool
    created_at: datetime


class ProjectInfo(msgspec.Struct, frozen=True):
    """A project of a domain."""

    project_id: ProjectId
    name: str
    domain_name: DomainName
    is_active: bool
    created_at: datetime


class UserInfo(msgspec.Struct, frozen=True):
    """A user of a domain."""

    user_id: UserId
    name: str
    domain_name: DomainName
    is_active: bool
    created_at: datetime


class KeypairInfo(msgspec.Struct, frozen=True):
    """An access key, the user whose it is, and that user's domain."""

    access_key: AccessKey
    user_id: UserId
    domain_name: DomainName
    is_active: bool
    created_at: datetime


class ProjectSpec(Spec, frozen=True, kw_only=True):
    """A project of a domain."""

    project_id: ProjectId
    name: str
    domain_name: DomainName


class UserSpec(Spec, frozen=True, kw_only=True):
    """A user of a domain."""

    user_id: UserId
    name: str
    domain_name: DomainName


class KeypairSpec(Spec, frozen=True, kw_only=True):
    """An access key of a user."""

    access_key: AccessKey
    user_id: UserId


class OwnersSpec(Spec, frozen=True, kw_only=True):
    """Owners, their policies and their quotas, to be registered at once."""

    domains: tuple[DomainName, ...] = ()
    projects: tuple[ProjectSpec, ...] = ()
    users: tuple[UserSpec, ...] = ()
    keypairs: tuple[KeypairSpec, ...] = ()
    resource_policies: tuple[ResourcePolicySpec, ...] = ()
    quotas: tuple[QuotaSpec, ...] = ()


def check_owners(owners: object) -> Steps[None]:
    """Raise InvalidInput or InvalidQuantity for a spec of owners that names or holds what cannot be."""
    if not isinstance(owners, OwnersSpec):
        raise wrong_value(owners, "owners", "an OwnersSpec")
    for domain in owners.domains:
        check_name(domain, "domain")
        yield
    for project in checked_batch(owners.projects, ProjectSpec, "projects"):
        check_id(project.project_id, "project")
        check_name(project.name, "project name")
        check_name(project.domain_name, "domain")
        yield
    for user in checked_batch(owners.users, UserSpec, "users"):
        check_id(user.user_id, "user")
        check_name(user.name, "user name")
        check_name(user.domain_name, "domain")
        yield
    for keypair in checked_batch(owners.keypairs, KeypairSpec, "keypairs"):
        check_name(keypair.access_key, "access key")
        check_id(keypair.user_id, "keypair's user")
        yield
    for policy in checked_batch(owners.resource_policies, ResourcePolicySpec, "resource policies"):
        check_policy(policy)
        yield
    for quota in checked_batch(owners.quotas, QuotaSpec, "quotas"):
        check_quota(quota)
        yield
