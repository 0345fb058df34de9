"""Owners as repositories answer with them: domains, projects, users and their keypairs.

``is_active`` is what was set on the owner itself, not on those above it. Nothing in this package acts on it.
"""

from datetime import datetime

import msgspec

from scheduler_repo.types import AccessKey, DomainName, ProjectId, UserId


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
