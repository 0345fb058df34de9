"""Scaling groups: their options, what their agents have, who may use them; and the cluster's slot types."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.lookups import fetch_slot_types, no_such_group, require_owners
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.entities.scaling_group import (
    ResourceTotals,
    ScalingGroup,
    ScalingGroupChanges,
    ScalingGroupFilter,
    ScalingGroupGrant,
    ScalingGroupSpec,
)
from scheduler_repo.entities.slot_type import SlotType, SlotTypeSpec
from scheduler_repo.entities.spec import checked_filter
from scheduler_repo.errors import InvalidQuantity
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.repositories.scaling_group.cache_source import ScalingGroupCacheSource
from scheduler_repo.repositories.scaling_group.db_source import (
    GROUPS,
    ScalingGroupDBSource,
    grants_from_rows,
    group_from_row,
)
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.steps import Steps, finish_in_slices, in_slices
from scheduler_repo.types import AccessKey, OperationId, ProjectId, ScalingGroupName
from scheduler_repo.validation import (
    check_amount,
    check_id,
    check_kind,
    check_length,
    check_limit,
    check_name,
    check_owner_id,
    check_staleness,
    check_text,
    checked_batch,
)
from scheduler_repo.wiring import check_same_engine, check_wiring

_resilience = layer_resilience(LayerType.SCALING_GROUP_REPOSITORY)
# For what only chooses between the two sources, which open the transaction and retry.
_choice = layer_resilience(LayerType.SCALING_GROUP_REPOSITORY, retries=False)

_CREATE_SCALING_GROUPS = IdempotentWrite("create_scaling_groups", type(None))
_REGISTER_SLOT_TYPES = IdempotentWrite("register_slot_types", tuple[SlotType, ...])
_UPDATE_SCALING_GROUP = IdempotentWrite("update_scaling_group", ScalingGroup)
_GRANT_SCALING_GROUPS = IdempotentWrite("grant_scaling_groups", tuple[ScalingGroupGrant, ...], wakes=False)
_REVOKE_SCALING_GROUPS = IdempotentWrite("revoke_scaling_groups", tuple[ScalingGroupGrant, ...], wakes=False)

_CURSORS = CursorCodec("search_scaling_groups", tuple[ScalingGroupName])


class ScalingGroupRepository(Repository[ScalingGroupDBSource]):
    """Reads, creates and changes scaling groups and slot types; keeps who may use a group.

    All raise InvalidInput for a malformed name or id, before any query, and the errors of the database layer.
    Writes raise OperationMismatch and OutcomeUnknown too; except after the latter, nothing was written. Asking
    again under the same ``operation_id`` answers the same and writes nothing twice. Each method costs one
    statement, or says its cost; a cost does not depend on how many are written.
    """

    source_type = ScalingGroupDBSource

    def __init__(
        self, db_source: ScalingGroupDBSource, cache_source: Optional[ScalingGroupCacheSource] = None
    ) -> None:
        """With a cache source, totals may be read through Redis; raises InvalidWiring for another part."""
        super().__init__(db_source)
        if cache_source is not None:
            advice = "ScalingGroupCacheSource(redis, db_source) or None"
            check_wiring(cache_source, ScalingGroupCacheSource, "cache_source", advice)
            check_same_engine(db_source.engine, cache_source.db_source.engine)
        self._cache_source = cache_source

    @_resilience.apply(OperationKind.READ)
    async def get_scaling_group(self, name: ScalingGroupName) -> ScalingGroup:
        """Return one group with its options; raises ScalingGroupNotFound."""
        found = await self._find(name)
        if found is None:
            raise no_such_group(name)
        return found

    @_resilience.apply(OperationKind.READ)
    async def find_scaling_group(self, name: ScalingGroupName) -> Optional[ScalingGroup]:
        """Return a group with its options, or None if no group has this name."""
        return await self._find(name)

    @_resilience.apply(OperationKind.READ)
    async def list_scaling_groups(self) -> tuple[ScalingGroup, ...]:
        """List all groups by name, inactive ones too; for thousands of them use ``search_scaling_groups``."""
        rows = await self._read(self._db_source.search_groups, ScalingGroupFilter())
        return await GROUPS.read(rows)

    @_resilience.apply(OperationKind.READ)
    async def search_scaling_groups(
        self,
        wanted: Optional[ScalingGroupFilter] = None,
        limit: int = DEFAULT_PAGE,
        cursor: Optional[Cursor] = None,
    ) -> Page[ScalingGroup]:
        """Return one page of the groups that a filter finds, by name; None finds all.

        ``limit`` is at most 1,000; ``cursor`` is ``next_cursor`` of the page before, with the same filter.
        Raises InvalidFilter, InvalidLimit and InvalidCursor. Page 1,000 costs what page 1 does.
        """
        asked = checked_filter(wanted, ScalingGroupFilter).in_one_spelling()
        check_limit(limit)
        after = None if cursor is None else _CURSORS.decode(asked, cursor)[0]
        rows = await self._read(self._db_source.search_groups, asked, after, limit + 1)
        return await GROUPS.page(_CURSORS, asked, rows, limit, lambda row: (row["name"],))

    @_resilience.apply(OperationKind.READ)
    async def list_slot_types(self) -> tuple[SlotType, ...]:
        """List all slot types by index: what stands where in every vector of amounts, and in which unit."""
        return await self._read(fetch_slot_types)

    @_choice.apply(OperationKind.READ)
    async def get_total_resource_slots(
        self, scaling_group: ScalingGroupName, max_staleness: float = 0
    ) -> ResourceTotals:
        """Sum what a group's agents have and what is occupied at one instant, whether it is active or not.

        ``max_staleness`` is in seconds: 0 always asks the database; above 0 an answer of that age may come from
        the cache. Raises ScalingGroupNotFound, and InvalidInput for a negative or infinite staleness, or one
        above 0 without a cache. Costs two statements, or one round trip to Redis; time grows with the group's
        agents.
        """
        check_length(scaling_group, "scaling group")
        check_staleness(max_staleness, has_cache=self._cache_source is not None)
        if self._cache_source is not None:
            return await self._cache_source.get_total_resource_slots(scaling_group, max_staleness)
        return await self._db_source.get_total_resource_slots(scaling_group)

    @_resilience.apply(OperationKind.READ)
    async def list_usable_scaling_groups(
        self, access_key: AccessKey, project_id: Optional[ProjectId] = None
    ) -> tuple[ScalingGroup, ...]:
        """List the groups that an access key may use, for a project if one is given, by name.

        These are the public ones, and those granted to the key, its user, the user's domain or the project,
        inactive ones too: they take sessions, which wait. None are usable where the key, its user, the project
        or the domain of either is not active. This is advice to callers that create sessions: enqueueing takes
        them for any group. Raises OwnerNotFound for a key or project that does not exist. Costs two statements.
        """
        check_name(access_key, "access key")
        if project_id is not None:
            check_id(project_id, "project")
        rows = await self._read(self._db_source.list_usable_groups, access_key, project_id)
        return await GROUPS.read(rows)

    @_resilience.apply(OperationKind.READ)
    async def list_scaling_group_grants(self, scaling_group: ScalingGroupName) -> tuple[ScalingGroupGrant, ...]:
        """List to whom a group is granted, by scope and id; for a public group grants make no difference.

        Raises ScalingGroupNotFound. Time grows with the group's grants.
        """
        check_name(scaling_group, "scaling group")
        return await grants_from_rows(await self._read(self._db_source.list_grants, scaling_group))

    @_resilience.apply(OperationKind.WRITE)
    async def update_scaling_group(
        self,
        name: ScalingGroupName,
        changes: ScalingGroupChanges,
        *,
        operation_id: Optional[OperationId] = None,
    ) -> ScalingGroup:
        """Change the options of a group that are set in ``changes``, and return the group as it is then.

        They hold from the next tick that reads the database; what is placed stays. Raises ScalingGroupNotFound.
        Costs three statements.
        """
        check_name(name, "scaling group")
        check_kind(changes, ScalingGroupChanges, "changes")

        async def update(write: WriteTransaction) -> ScalingGroup:
            return group_from_row(await self._db_source.update_group(write.db_sess, name, changes))

        return await _UPDATE_SCALING_GROUP.run(
            self._db, update, request=(name, changes), operation_id=operation_id
        )

    @_resilience.apply(OperationKind.WRITE)
    async def grant_scaling_groups(
        self, grants: Sequence[ScalingGroupGrant], *, operation_id: Optional[OperationId] = None
    ) -> tuple[ScalingGroupGrant, ...]:
        """Let owners use groups, all or none; returns the grants that are new, in the order given.

        Grants that exist already stay. A grant is advice: see ``list_usable_scaling_groups``. Raises
        ScalingGroupNotFound and OwnerNotFound. Costs five statements.
        """
        return await self._change_grants(grants, is_granted=True, operation_id=operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def revoke_scaling_groups(
        self, grants: Sequence[ScalingGroupGrant], *, operation_id: Optional[OperationId] = None
    ) -> tuple[ScalingGroupGrant, ...]:
        """Revoke grants, all or none; returns those that existed, in the order given.

        A grant or an owner that does not exist is no error. Sessions of the owner that exist go on. Raises
        ScalingGroupNotFound. Costs four statements.
        """
        return await self._change_grants(grants, is_granted=False, operation_id=operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def create_scaling_groups(
        self, groups: Sequence[ScalingGroupSpec], *, operation_id: Optional[OperationId] = None
    ) -> None:
        """Create groups, all or none; raises ScalingGroupAlreadyExists. Costs three statements."""
        await finish_in_slices(check_groups(groups))

        async def create(write: WriteTransaction) -> None:
            await self._db_source.insert_groups(write.db_sess, groups)

        await _CREATE_SCALING_GROUPS.run(self._db, create, request=groups, operation_id=operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def register_slot_types(
        self, slot_types: Sequence[SlotTypeSpec], *, operation_id: Optional[OperationId] = None
    ) -> tuple[SlotType, ...]:
        """Make sure that these slot types exist, and return all there are, by index.

        Raises InvalidInput if one exists with other units. Costs at most five statements, and two more each
        time that another process adds some meanwhile.
        """
        check_slot_types(slot_types)

        async def ensure(write: WriteTransaction) -> tuple[SlotType, ...]:
            return await self._db_source.ensure_slot_types(write.db_sess, slot_types)

        return await _REGISTER_SLOT_TYPES.run(self._db, ensure, request=slot_types, operation_id=operation_id)

    async def _find(self, name: ScalingGroupName) -> Optional[ScalingGroup]:
        check_name(name, "scaling group")
        row = await self._read(self._db_source.find_group, name)
        return None if row is None else group_from_row(row)

    async def _change_grants(
        self, grants: Sequence[ScalingGroupGrant], *, is_granted: bool, operation_id: Optional[OperationId]
    ) -> tuple[ScalingGroupGrant, ...]:
        async for grant in in_slices(checked_batch(grants, ScalingGroupGrant, "grants")):
            check_name(grant.scaling_group, "a grant's scaling group")
            check_owner_id(grant.scope, grant.owner_id)
        if not grants:
            return ()

        async def change(write: WriteTransaction) -> tuple[ScalingGroupGrant, ...]:
            await self._db_source.lock_groups(write.db_sess, grants)
            if is_granted:
                await require_owners(write.db_sess, [(each.scope, each.owner_id) for each in grants])
            return await self._db_source.change_grants(write.db_sess, grants, is_granted=is_granted)

        kind = _GRANT_SCALING_GROUPS if is_granted else _REVOKE_SCALING_GROUPS
        return await kind.run(self._db, change, request=grants, operation_id=operation_id)


def check_groups(groups: object) -> Steps[None]:
    """Raise InvalidInput unless it is a list of specs whose names can be stored."""
    for group in checked_batch(groups, ScalingGroupSpec, "scaling groups"):
        check_name(group.name, "a scaling group's name")
        yield


def check_slot_types(slot_types: object) -> None:
    """Raise InvalidInput unless it is a list of specs whose values can be stored."""
    for slot_type in checked_batch(slot_types, SlotTypeSpec, "slot types"):
        check_name(slot_type.name, "a slot type's name")
        check_text(slot_type.display_unit, f"slot {slot_type.name}, display_unit")
        units = f"slot {slot_type.name}, units_per_whole"
        check_amount(slot_type.units_per_whole, units)
        if not slot_type.units_per_whole:
            raise InvalidQuantity(f"{units} is 0; give 1 or more")
