"""The owners that a tick goes by."""

from collections.abc import Mapping
from typing import TypeAlias, Union

from scheduler_repo.entities.scheduling_data import OwnerUsage, SchedulingData
from scheduler_repo.types import AccessKey, DomainName, OwnerScope, ProjectId, UserId

Usage: TypeAlias = Union[
    OwnerUsage[AccessKey], OwnerUsage[UserId], OwnerUsage[ProjectId], OwnerUsage[DomainName]
]


def only_owners(data: SchedulingData) -> Mapping[OwnerScope, Usage]:
    """The one owner of each scope."""
    ((access_key,), (user,), (project,), (domain,)) = data.access_keys, data.users, data.projects, data.domains
    return {
        OwnerScope.ACCESS_KEY: access_key,
        OwnerScope.USER: user,
        OwnerScope.PROJECT: project,
        OwnerScope.DOMAIN: domain,
    }
