"""Scaling groups and the slot types that their agents have."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.resilience.layers import LayerType, repository_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.data import SlotType
from scheduler_repo.specs import ScalingGroupSpec, SlotTypeSpec
from scheduler_repo.types import OperationId

_resilience = repository_resilience(LayerType.SCALING_GROUP_REPOSITORY)


class ScalingGroupRepository:
    """Creates scaling groups and slot types."""

    def __init__(self, db_source: ScalingGroupDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.WRITE)
    async def create_scaling_groups(
        self, groups: Sequence[ScalingGroupSpec], operation_id: Optional[OperationId] = None
    ) -> None:
        """Create groups, all or none.

        Raises ScalingGroupAlreadyExists, OperationMismatch and OutcomeUnknown. Costs three statements.
        """
        await self._db_source.create_scaling_groups(groups, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def register_slot_types(
        self, slot_types: Sequence[SlotTypeSpec], operation_id: Optional[OperationId] = None
    ) -> tuple[SlotType, ...]:
        """Make sure that these slot types exist, and return all there are, by index.

        Raises InvalidInput if one exists with other units, OperationMismatch and OutcomeUnknown. Costs at most
        six statements.
        """
        return await self._db_source.register_slot_types(slot_types, operation_id)
