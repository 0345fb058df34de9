"""Scaling groups and slot types in PostgreSQL."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.database.bulk import copy_rows, insert_missing
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession, driver_connection
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.writing import WriteKind
from scheduler_repo.resilience.layers import LayerType, db_source_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.data import SlotType
from scheduler_repo.scheduling.transforms import slot_types_by_index
from scheduler_repo.slots import checked_quantity
from scheduler_repo.specs import ScalingGroupSpec, SlotTypeSpec
from scheduler_repo.types import OperationId

_CREATE_SCALING_GROUPS = WriteKind("create_scaling_groups", type(None))
_REGISTER_SLOT_TYPES = WriteKind("register_slot_types", tuple[SlotType, ...])

SLOT_TYPES = load_statement("slot_types")


_resilience = db_source_resilience(LayerType.SCALING_GROUP_DB_SOURCE)


class ScalingGroupDBSource:
    """Creates scaling groups."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.WRITE)
    async def create_scaling_groups(
        self, groups: Sequence[ScalingGroupSpec], operation_id: Optional[OperationId] = None
    ) -> None:
        """Create groups, all or none.

        Raises ScalingGroupAlreadyExists, OperationMismatch and OutcomeUnknown. Costs three statements.
        """
        await _CREATE_SCALING_GROUPS.run(
            self._engine,
            lambda write: insert_scaling_groups(write.db_sess, groups),
            request=groups,
            operation_id=operation_id,
        )

    @_resilience.apply(OperationKind.WRITE)
    async def register_slot_types(
        self, slot_types: Sequence[SlotTypeSpec], operation_id: Optional[OperationId] = None
    ) -> tuple[SlotType, ...]:
        """Make sure that these slot types exist, and return all there are, by index.

        Raises InvalidInput if one exists with other units, OperationMismatch and OutcomeUnknown. Costs at most
        six statements.
        """
        return await _REGISTER_SLOT_TYPES.run(
            self._engine,
            lambda write: ensure_slot_types(write.db_sess, slot_types),
            request=slot_types,
            operation_id=operation_id,
        )


async def insert_scaling_groups(db_sess: SASession, groups: Sequence[ScalingGroupSpec]) -> None:
    """Add groups in the session's transaction."""
    columns = ("name", "is_active", "pending_timeout", "preemption_scope", "preemption_min_runtime")
    rows = [
        (
            group.name,
            group.is_active,
            group.pending_timeout,
            group.preemption_scope,
            group.preemption_min_runtime,
        )
        for group in groups
    ]
    await copy_rows(db_sess, "scaling_groups", columns, rows)


async def ensure_slot_types(db_sess: SASession, slot_types: Sequence[SlotTypeSpec]) -> tuple[SlotType, ...]:
    """Add the slot types that are missing at the next free indexes, in the session's transaction."""
    # Two that add slot types at once must not take the same index; the table itself cannot be locked.
    await driver_connection(db_sess).execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('scheduler_repo.slot_types', 0))"
    )
    known = {row[0]: row for row in await fetch_rows(db_sess, SLOT_TYPES)}
    next_index = max((row[1] for row in known.values()), default=-1) + 1
    missing = {slot_type.name: slot_type for slot_type in slot_types if slot_type.name not in known}
    rows = [
        (
            slot_type.name,
            index,
            checked_quantity(slot_type.units_per_whole, f"slot {slot_type.name}, units_per_whole"),
            slot_type.display_unit,
        )
        for index, slot_type in enumerate(missing.values(), start=next_index)
    ]
    columns = (("name", "text"), ("slot_index", "int2"), ("units_per_whole", "int8"), ("display_unit", "text"))
    await insert_missing(db_sess, "slot_types", columns, rows)
    found = slot_types_by_index(await fetch_rows(db_sess, SLOT_TYPES))
    by_name = {slot_type.name: slot_type for slot_type in found}
    for slot_type in slot_types:
        units = by_name[slot_type.name].units_per_whole
        if units != slot_type.units_per_whole:
            raise InvalidInput(
                f"slot {slot_type.name} exists with {units} units per whole, not "
                f"{slot_type.units_per_whole}; amounts cannot be mixed, use the existing units"
            )
    return found
