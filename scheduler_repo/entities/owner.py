"""Owners as repositories answer with them: domains, projects, users and their keypairs.

``is_active`` is what was set on the owner itself, not on those above it. Nothing in this package acts on it.
"""

from datetime import datetime

import msgspec

from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.resource_policy import ResourcePolicySpec
from scheduler_repo.entities.spec import Spec
from scheduler_repo.types import (
    AccessKey,
    DomainName,
    ProjectId,
    UserId,
)


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
