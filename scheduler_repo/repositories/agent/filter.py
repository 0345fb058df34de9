"""What a search of agents is narrowed by."""

from typing import Optional

from scheduler_repo.repositories.filtering import SearchFilter
from scheduler_repo.types import AgentStatus, Architecture, ScalingGroupName


class AgentFilter(SearchFilter, frozen=True, kw_only=True):
    """Which agents a search finds: all that is given must hold; None is not asked.

    ``statuses`` are those of which one must be the agent's. A group that does not exist has no agents.
    """

    scaling_group: Optional[ScalingGroupName] = None
    statuses: Optional[tuple[AgentStatus, ...]] = None
    is_schedulable: Optional[bool] = None
    architecture: Optional[Architecture] = None
    id_prefix: Optional[str] = None
