"""A whole cluster and its queue."""

from scheduler_repo.entities.agent import AgentSpec
from scheduler_repo.entities.owner import OwnersSpec
from scheduler_repo.entities.scaling_group import ScalingGroupSpec
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.entities.slot_type import SlotTypeSpec
from scheduler_repo.entities.spec import Spec


class ClusterSpec(Spec, frozen=True, kw_only=True):
    """A whole cluster and its queue, to be loaded at once."""

    slot_types: tuple[SlotTypeSpec, ...]
    scaling_groups: tuple[ScalingGroupSpec, ...]
    agents: tuple[AgentSpec, ...]
    owners: OwnersSpec
    sessions: tuple[SessionCreationSpec, ...] = ()
