"""Scaling groups: their options, what their agents have, who may use them; and the cluster's slot types."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, Page
from scheduler_repo.entities.scaling_group import (
    ResourceTotals,
    ScalingGroup,
    ScalingGroupChanges,
    ScalingGroupFilter,
    ScalingGroupGrant,
    ScalingGroupSpec,
)
from scheduler_repo.entities.slot_type import SlotType, SlotTypeSpec
from scheduler_repo.repositories.scaling_group.cache_source import ScalingGroupCacheSource
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import AccessKey, OperationId, ProjectId, ScalingGroupName
from scheduler_repo.validation import check_staleness

_resilience = layer_resilience(LayerType.SCALING_GROUP_REPOSITORY, retries=False)


class ScalingGroupRepository:
    """Reads, creates and changes scaling groups and slot types; keeps who may use a group.

    All raise InvalidInput for a name or id that is none, before any query, and the errors of the database
    layer. Writes raise OperationMismatch and OutcomeUnknown too; save after the latter, nothing was written.
    Asking again under the same ``operation_id`` answers the same and writes nothing twice.
    """

    def __init__(
        self, db_source: ScalingGroupDBSource, cache_source: Optional[ScalingGroupCacheSource] = None
    ) -> None:
        """Take the database source and, where readers share totals through Redis, the cache source."""
        self._db_source = db_source
        self._cache_source = cache_source

    @_resilience.apply(OperationKind.READ)
    async def get_scaling_group(self, name: ScalingGroupName) -> ScalingGroup:
        """Return one group with its options; raises ScalingGroupNotFound. Costs one statement."""
        return await self._db_source.get_scaling_group(name)

    @_resilience.apply(OperationKind.READ)
    async def find_scaling_group(self, name: ScalingGroupName) -> Optional[ScalingGroup]:
        """Do as ``get_scaling_group`` does, and answer None if there is no group of this name."""
        return await self._db_source.find_scaling_group(name)

    @_resilience.apply(OperationKind.READ)
    async def list_scaling_groups(self) -> tuple[ScalingGroup, ...]:
        """List all groups by name, inactive ones too; raises the errors of the database layer.

        Costs one statement. A cluster with thousands of groups asks ``search_scaling_groups``.
        """
        return await self._db_source.list_scaling_groups()

    @_resilience.apply(OperationKind.READ)
    async def search_scaling_groups(
        self,
        wanted: Optional[ScalingGroupFilter] = None,
        limit: int = DEFAULT_PAGE,
        cursor: Optional[Cursor] = None,
    ) -> Page[ScalingGroup]:
        """Search groups, by name, at most ``limit`` (1 to 1,000) to a page; None finds all.

        ``next_cursor`` of a page, given as ``cursor`` with the same filter, asks for the next one. Raises
        InvalidFilter, InvalidLimit and InvalidCursor. Costs one statement, on page 1,000 as on page 1.
        """
        return await self._db_source.search_scaling_groups(wanted, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def list_slot_types(self) -> tuple[SlotType, ...]:
        """List all slot types by index: what stands where in every vector of amounts, and in which unit.

        Raises the errors of the database layer. Costs one statement.
        """
        return await self._db_source.list_slot_types()

    @_resilience.apply(OperationKind.READ)
    async def get_total_resource_slots(
        self, scaling_group: ScalingGroupName, max_staleness: float = 0
    ) -> ResourceTotals:
        """Sum what the agents of a group have and have given away, by their ledgers, at one instant.

        By slot index, in each slot's smallest unit, exact even above 63 bits. Whether the group is active
        makes no difference. ``max_staleness`` is in seconds: 0 always asks the database; more allows an answer
        that is so old, from the cache if there is one. Raises ScalingGroupNotFound, and InvalidInput for a
        staleness that is none. Costs two statements, or one round trip to Redis; time grows with the group's
        agents.
        """
        check_staleness(max_staleness)
        if self._cache_source is not None:
            return await self._cache_source.get_total_resource_slots(scaling_group, max_staleness)
        return await self._db_source.get_total_resource_slots(scaling_group)

    @_resilience.apply(OperationKind.READ)
    async def list_usable_scaling_groups(
        self, access_key: AccessKey, project_id: Optional[ProjectId] = None
    ) -> tuple[ScalingGroup, ...]:
        """List the groups that an access key may use, for a project if one is given, by name.

        These are the public ones, and those granted to the key, its user, the user's domain or the project. A
        group that is not active is among them: it takes sessions, which wait. None are usable where the key,
        its user, the user's domain, the project or the project's domain is not active.

        This is advice to whoever makes sessions: enqueueing does not ask it, and takes sessions for any group.
        Raises OwnerNotFound for an access key or project that does not exist. Costs two statements.
        """
        return await self._db_source.list_usable_scaling_groups(access_key, project_id)

    @_resilience.apply(OperationKind.READ)
    async def list_scaling_group_grants(self, scaling_group: ScalingGroupName) -> tuple[ScalingGroupGrant, ...]:
        """List to whom a group is granted, by scope and id; of a public group that makes no difference.

        Raises ScalingGroupNotFound. Costs one statement; time grows with the group's grants.
        """
        return await self._db_source.list_scaling_group_grants(scaling_group)

    @_resilience.apply(OperationKind.WRITE)
    async def update_scaling_group(
        self,
        name: ScalingGroupName,
        changes: ScalingGroupChanges,
        operation_id: Optional[OperationId] = None,
    ) -> ScalingGroup:
        """Change the options of a group that are set in ``changes``, and return it as it is then.

        The next tick that reads the database goes by them. Sessions that are placed stay where they are. Raises
        ScalingGroupNotFound, and InvalidInput for an option that cannot be so. Costs three statements.
        """
        return await self._db_source.update_scaling_group(name, changes, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def grant_scaling_groups(
        self, grants: Sequence[ScalingGroupGrant], operation_id: Optional[OperationId] = None
    ) -> tuple[ScalingGroupGrant, ...]:
        """Let owners use groups, all or none; returns the grants that are new, in the order given.

        What is granted already stays so. A grant is advice: see ``list_usable_scaling_groups``. Raises
        ScalingGroupNotFound and OwnerNotFound. Costs five statements, whatever the number.
        """
        return await self._db_source.grant_scaling_groups(grants, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def revoke_scaling_groups(
        self, grants: Sequence[ScalingGroupGrant], operation_id: Optional[OperationId] = None
    ) -> tuple[ScalingGroupGrant, ...]:
        """Take grants back, all or none; returns those that there were, in the order given.

        What is not granted, and an owner that does not exist, is no error. Sessions of the owner that are
        there go on. Raises ScalingGroupNotFound. Costs four statements, whatever the number.
        """
        return await self._db_source.revoke_scaling_groups(grants, operation_id)

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
