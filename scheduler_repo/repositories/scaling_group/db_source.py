"""Scaling groups and slot types in PostgreSQL."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.database.bulk import copy_rows, insert_missing
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession, driver_connection
from scheduler_repo.database.idempotent_write import IdempotentWrite
from scheduler_repo.database.lookups import SLOT_TYPES, no_such_group
from scheduler_repo.database.statements import fetch_rows
from scheduler_repo.entities.filtering import checked_filter
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page, check_limit
from scheduler_repo.entities.scaling_group import (
    ResourceTotals,
    ScalingGroup,
    ScalingGroupChanges,
    ScalingGroupFilter,
    ScalingGroupGrant,
    ScalingGroupSpec,
)
from scheduler_repo.entities.slot_type import SlotType, SlotTypeSpec
from scheduler_repo.errors import InvalidInput, InvalidQuantity
from scheduler_repo.repositories.scaling_group.changing import check_changes, check_times, update_group
from scheduler_repo.repositories.scaling_group.granting import (
    check_grants,
    fetch_grants,
    grant_batch,
    grants_of,
    revoke_batch,
)
from scheduler_repo.repositories.scaling_group.reading import (
    FIND_SCALING_GROUP,
    fetch_groups,
    fetch_totals,
    fetch_usable_groups,
    group_infos,
    resource_totals,
)
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.snapshot.build import slot_types_by_index
from scheduler_repo.slots import checked_quantity
from scheduler_repo.types import AccessKey, OperationId, ProjectId, ScalingGroupName
from scheduler_repo.validation import check_ids, check_name, check_text, checked_batch

_CREATE_SCALING_GROUPS = IdempotentWrite("create_scaling_groups", type(None))
_REGISTER_SLOT_TYPES = IdempotentWrite("register_slot_types", tuple[SlotType, ...])
_UPDATE_SCALING_GROUP = IdempotentWrite("update_scaling_group", ScalingGroup)
_GRANT_SCALING_GROUPS = IdempotentWrite("grant_scaling_groups", tuple[ScalingGroupGrant, ...])
_REVOKE_SCALING_GROUPS = IdempotentWrite("revoke_scaling_groups", tuple[ScalingGroupGrant, ...])
_SEARCH_SCALING_GROUPS = CursorCodec("search_scaling_groups", tuple[ScalingGroupName])
_resilience = layer_resilience(LayerType.SCALING_GROUP_DB_SOURCE)


class ScalingGroupDBSource:
    """Reads, creates and changes scaling groups, says what their agents have, and who may use them.

    All raise InvalidInput for a name or id that is none, and the errors of the database layer; writes
    OperationMismatch and OutcomeUnknown too.
    """

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @property
    def engine(self) -> ExtendedAsyncSAEngine:
        """The engine, for a cache source: to be told what is written through it."""
        return self._engine

    @_resilience.apply(OperationKind.READ)
    async def get_scaling_group(self, name: ScalingGroupName) -> ScalingGroup:
        """Return one group with its options; raises ScalingGroupNotFound. Costs one statement."""
        found = await self._find(name)
        if found is None:
            raise no_such_group(name)
        return found

    @_resilience.apply(OperationKind.READ)
    async def find_scaling_group(self, name: ScalingGroupName) -> Optional[ScalingGroup]:
        """Find one group with its options; None if there is none of this name. Costs one statement."""
        return await self._find(name)

    @_resilience.apply(OperationKind.READ)
    async def list_scaling_groups(self) -> tuple[ScalingGroup, ...]:
        """List all groups by name; costs one statement."""
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_groups(db_sess, ScalingGroupFilter())
        return group_infos(rows)

    @_resilience.apply(OperationKind.READ)
    async def search_scaling_groups(
        self,
        wanted: Optional[ScalingGroupFilter] = None,
        limit: int = DEFAULT_PAGE,
        cursor: Optional[Cursor] = None,
    ) -> Page[ScalingGroup]:
        """Search groups, by name, page by page; raises InvalidFilter, InvalidLimit, InvalidCursor.

        Costs one statement, on page 1,000 as on page 1.
        """
        asked = checked_filter(wanted, ScalingGroupFilter).in_one_spelling()
        check_limit(limit)
        after = None if cursor is None else _SEARCH_SCALING_GROUPS.decode(asked, cursor)[0]
        async with self._engine.begin_readonly_session() as db_sess:
            # One more than a page says whether there is another.
            rows = await fetch_groups(db_sess, asked, after, limit + 1)
        items = group_infos(rows[:limit])
        more = len(rows) > limit
        return Page(items, _SEARCH_SCALING_GROUPS.encode(asked, (items[-1].name,)) if more else None)

    @_resilience.apply(OperationKind.READ)
    async def list_slot_types(self) -> tuple[SlotType, ...]:
        """List all slot types, by index; costs one statement."""
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, SLOT_TYPES)
        return slot_types_by_index(rows)

    @_resilience.apply(OperationKind.READ)
    async def get_total_resource_slots(self, scaling_group: ScalingGroupName) -> ResourceTotals:
        """Sum what the agents of a group have and have given away; raises ScalingGroupNotFound.

        Costs two statements.
        """
        check_name(scaling_group, "scaling group")
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_totals(db_sess, scaling_group)
        return resource_totals(scaling_group, rows)

    @_resilience.apply(OperationKind.READ)
    async def list_usable_scaling_groups(
        self, access_key: AccessKey, project_id: Optional[ProjectId] = None
    ) -> tuple[ScalingGroup, ...]:
        """List the groups that an access key may use, by name; raises OwnerNotFound. Costs two statements."""
        check_name(access_key, "access key")
        if project_id is not None:
            check_ids("project", (project_id,))
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_usable_groups(db_sess, access_key, project_id)
        return group_infos(rows)

    @_resilience.apply(OperationKind.READ)
    async def list_scaling_group_grants(self, scaling_group: ScalingGroupName) -> tuple[ScalingGroupGrant, ...]:
        """List to whom a group is granted, by scope and id; raises ScalingGroupNotFound. One statement."""
        check_name(scaling_group, "scaling group")
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_grants(db_sess, scaling_group)
        return grants_of(rows)

    @_resilience.apply(OperationKind.WRITE)
    async def update_scaling_group(
        self,
        name: ScalingGroupName,
        changes: ScalingGroupChanges,
        operation_id: Optional[OperationId] = None,
    ) -> ScalingGroup:
        """Change options of a group, and return it as it is then; raises ScalingGroupNotFound.

        Costs three statements.
        """
        check_name(name, "scaling group")
        check_changes(changes)
        return await _UPDATE_SCALING_GROUP.run(
            self._engine,
            lambda write: update_group(write, name, changes),
            request=(name, changes),
            operation_id=operation_id,
        )

    @_resilience.apply(OperationKind.WRITE)
    async def grant_scaling_groups(
        self, grants: Sequence[ScalingGroupGrant], operation_id: Optional[OperationId] = None
    ) -> tuple[ScalingGroupGrant, ...]:
        """Let owners use groups, all or none, and return the grants that are new.

        Raises ScalingGroupNotFound and OwnerNotFound. Costs five statements.
        """
        check_grants(grants)
        if not grants:
            return ()
        return await _GRANT_SCALING_GROUPS.run(
            self._engine,
            lambda write: grant_batch(write, grants),
            request=grants,
            operation_id=operation_id,
        )

    @_resilience.apply(OperationKind.WRITE)
    async def revoke_scaling_groups(
        self, grants: Sequence[ScalingGroupGrant], operation_id: Optional[OperationId] = None
    ) -> tuple[ScalingGroupGrant, ...]:
        """Let owners use groups no more, all or none, and return the grants that there were.

        Raises ScalingGroupNotFound. Costs four statements.
        """
        check_grants(grants)
        if not grants:
            return ()
        return await _REVOKE_SCALING_GROUPS.run(
            self._engine,
            lambda write: revoke_batch(write, grants),
            request=grants,
            operation_id=operation_id,
        )

    async def _find(self, name: ScalingGroupName) -> Optional[ScalingGroup]:
        check_name(name, "scaling group")
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, FIND_SCALING_GROUP, name)
        return next(iter(group_infos(rows)), None)

    @_resilience.apply(OperationKind.WRITE)
    async def create_scaling_groups(
        self, groups: Sequence[ScalingGroupSpec], operation_id: Optional[OperationId] = None
    ) -> None:
        """Create groups, all or none.

        Raises ScalingGroupAlreadyExists, OperationMismatch and OutcomeUnknown. Costs three statements.
        """
        check_groups(groups)
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
        check_slot_types(slot_types)
        return await _REGISTER_SLOT_TYPES.run(
            self._engine,
            lambda write: ensure_slot_types(write.db_sess, slot_types),
            request=slot_types,
            operation_id=operation_id,
        )


def check_groups(groups: object) -> None:
    """Raise InvalidInput for what is no list of specs, or names or holds what cannot be; asks nothing."""
    for group in checked_batch(groups, ScalingGroupSpec, "scaling groups"):
        check_name(group.name, "a scaling group's name")
        check_times(f"scaling group {group.name}", group.pending_timeout, group.preemption_min_runtime)


def check_slot_types(slot_types: object) -> None:
    """Raise InvalidInput for what is no list of specs, or names or holds what cannot be; asks nothing."""
    for slot_type in checked_batch(slot_types, SlotTypeSpec, "slot types"):
        check_name(slot_type.name, "a slot type's name")
        check_text(slot_type.display_unit, f"slot {slot_type.name}, display_unit")
        units = f"slot {slot_type.name}, units_per_whole"
        if not checked_quantity(slot_type.units_per_whole, units):
            raise InvalidQuantity(f"{units} is 0; give 1 or more")


async def insert_scaling_groups(db_sess: SASession, groups: Sequence[ScalingGroupSpec]) -> None:
    """Add groups in the session's transaction."""
    columns = (
        "name",
        "is_active",
        "is_public",
        "pending_timeout",
        "preemption_scope",
        "preemption_min_runtime",
    )
    rows = [
        (
            group.name,
            group.is_active,
            group.is_public,
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
            slot_type.units_per_whole,
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
