"""Scaling groups and the slot types that their agents have."""

from collections.abc import Sequence

from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.scheduling.data import SlotType
from scheduler_repo.specs import ScalingGroupSpec, SlotTypeSpec


class ScalingGroupRepository:
    """Creates scaling groups and slot types."""

    def __init__(self, db_source: ScalingGroupDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    async def create_scaling_groups(self, groups: Sequence[ScalingGroupSpec]) -> None:
        """Create groups, all or none; raises ScalingGroupAlreadyExists. Costs one statement."""
        await self._db_source.create_scaling_groups(groups)

    async def register_slot_types(self, slot_types: Sequence[SlotTypeSpec]) -> tuple[SlotType, ...]:
        """Make sure that these slot types exist, and return all there are, by index.

        Raises InvalidInput if one exists with other units. Costs at most five statements.
        """
        return await self._db_source.register_slot_types(slot_types)
