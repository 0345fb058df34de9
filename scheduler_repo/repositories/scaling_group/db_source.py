"""The statements of scaling groups, of grants to use them, and of slot types."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Optional, Union

import msgspec

from scheduler_repo.database.bulk import copy_rows
from scheduler_repo.database.engine import SASession
from scheduler_repo.database.identity import record_connection
from scheduler_repo.database.lookups import fetch_slot_types, no_such_group
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.scaling_group import (
    ResourceTotals,
    ScalingGroup,
    ScalingGroupChanges,
    ScalingGroupFilter,
    ScalingGroupGrant,
    ScalingGroupSpec,
)
from scheduler_repo.entities.slot_type import SlotType, SlotTypeSpec
from scheduler_repo.errors import InvalidInput, OwnerNotFound
from scheduler_repo.quoting import quoted, shortened
from scheduler_repo.repositories.db_source import DBSource, RowReader, build_struct
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import AccessKey, OwnerScope, ProjectId, ScalingGroupName
from scheduler_repo.validation import check_name

if TYPE_CHECKING:
    from asyncpg import Record

FIND_SCALING_GROUP = load_statement("scaling_group/find_scaling_group")
SEARCH_SCALING_GROUPS = load_statement("scaling_group/search_scaling_groups")
UPDATE_SCALING_GROUP = load_statement("scaling_group/update_scaling_group")
COUNT_GROUP_AGENTS = load_statement("scaling_group/count_group_agents")
SUM_GROUP_SLOTS = load_statement("scaling_group/sum_group_slots")
GROUP_USER = load_statement("scaling_group/group_user")
USABLE_SCALING_GROUPS = load_statement("scaling_group/usable_scaling_groups")
SCALING_GROUP_GRANTS = load_statement("scaling_group/scaling_group_grants")
LOCK_SCALING_GROUPS = load_statement("scaling_group/lock_scaling_groups")
GRANT_SCALING_GROUPS = load_statement("scaling_group/grant_scaling_groups")
REVOKE_SCALING_GROUPS = load_statement("scaling_group/revoke_scaling_groups")
ADD_SLOT_TYPES = load_statement("scaling_group/add_slot_types")

# The options, as the table and ScalingGroupSpec both name them.
_COLUMNS: Final = ScalingGroupSpec.__struct_fields__

_MOST_SLOT_TYPES: Final = 64

_resilience = layer_resilience(LayerType.SCALING_GROUP_DB_SOURCE)


class ScalingGroupDBSource(DBSource):
    """Finds, adds and changes groups, grants and slot types; each method costs one statement, or says its cost.

    The totals of a group are read in a transaction of their own, as the cache source asks for them too.
    """

    @_resilience.apply(OperationKind.READ)
    async def get_total_resource_slots(self, scaling_group: ScalingGroupName) -> ResourceTotals:
        """Return what the agents of a group have, and how much of it is occupied; see ResourceTotals.

        Raises ScalingGroupNotFound, InvalidInput for a name that is none, and the errors of the database layer.
        Costs two statements; time grows with the group's agents.
        """
        check_name(scaling_group, "scaling group")
        async with self.engine.begin_readonly_session() as db_sess:
            await record_connection(self.engine, db_sess)
            counts = await fetch_rows(db_sess, COUNT_GROUP_AGENTS, scaling_group)
            if not counts:
                raise no_such_group(scaling_group)
            rows = await fetch_rows(db_sess, SUM_GROUP_SLOTS, scaling_group)
        sums = {row["slot_index"]: row for row in rows}
        width = max(sums, default=-1) + 1
        # The server sums as numeric, which is exact however large. A slot type that was removed has 0.
        vectors = {
            name: tuple(int(sums[index][name]) if index in sums else 0 for index in range(width))
            for name in ("capacity", "occupied", "schedulable_capacity", "schedulable_occupied")
        }
        return build_struct(ResourceTotals, counts[0], scaling_group=scaling_group, **vectors)

    async def find_group(self, db_sess: SASession, name: ScalingGroupName) -> "Optional[Record]":
        """Find one group."""
        rows = await fetch_rows(db_sess, FIND_SCALING_GROUP, name)
        return rows[0] if rows else None

    async def search_groups(
        self,
        db_sess: SASession,
        wanted: ScalingGroupFilter,
        after: Optional[ScalingGroupName] = None,
        limit: Optional[int] = None,
    ) -> "list[Record]":
        """List the groups that a filter finds by name, those behind ``after``."""
        asked = (wanted.is_active, wanted.is_public, wanted.name_prefix)
        return await fetch_rows(db_sess, SEARCH_SCALING_GROUPS, *asked, after, limit)

    async def list_usable_groups(
        self, db_sess: SASession, access_key: AccessKey, project_id: Optional[ProjectId]
    ) -> "list[Record]":
        """List the groups that an access key may use by name; raises OwnerNotFound. Costs two statements."""
        users = await fetch_rows(db_sess, GROUP_USER, access_key, project_id)
        if not users:
            raise OwnerNotFound(
                f"there is no access key {quoted(access_key, 200)}; correct the key or register its owner",
                scope=OwnerScope.ACCESS_KEY,
                owner_id=access_key,
            )
        user_id, domain_name, is_active, project_is_active = users[0]
        if project_id is not None and project_is_active is None:
            raise OwnerNotFound(
                f"there is no project {project_id}; correct the id or register the project",
                scope=OwnerScope.PROJECT,
                owner_id=str(project_id),
            )
        if not is_active or (project_id is not None and not project_is_active):
            return []
        return await fetch_rows(db_sess, USABLE_SCALING_GROUPS, access_key, user_id, project_id, domain_name)

    async def insert_groups(self, db_sess: SASession, groups: Sequence[ScalingGroupSpec]) -> None:
        """Add groups, all or none."""
        await copy_rows(db_sess, "scaling_groups", _COLUMNS, [*map(msgspec.structs.astuple, groups)])

    async def update_group(
        self, db_sess: SASession, name: ScalingGroupName, changes: ScalingGroupChanges
    ) -> "Record":
        """Change the options that are set, and return the group as it is then; raises ScalingGroupNotFound."""
        rows = await fetch_rows(
            db_sess,
            UPDATE_SCALING_GROUP,
            name,
            _or_null(changes.is_active),
            _or_null(changes.is_public),
            _or_null(changes.preemption_min_runtime),
            changes.pending_timeout is not msgspec.UNSET,
            _or_null(changes.pending_timeout),
            changes.preemption_scope is not msgspec.UNSET,
            _or_null(changes.preemption_scope),
        )
        if not rows:
            raise no_such_group(name)
        return rows[0]

    async def list_grants(self, db_sess: SASession, scaling_group: ScalingGroupName) -> "list[Record]":
        """List the grants of a group by scope and id; raises ScalingGroupNotFound.

        A group without grants has one row, without a scope.
        """
        rows = await fetch_rows(db_sess, SCALING_GROUP_GRANTS, scaling_group)
        if not rows:
            raise no_such_group(scaling_group)
        return rows

    async def lock_groups(self, db_sess: SASession, grants: Sequence[ScalingGroupGrant]) -> None:
        """Lock the groups of grants by name; raises ScalingGroupNotFound."""
        names = sorted({grant.scaling_group for grant in grants})
        found = {row["name"] for row in await fetch_rows(db_sess, LOCK_SCALING_GROUPS, names)}
        for name in names:
            if name not in found:
                raise no_such_group(name)

    async def change_grants(
        self, db_sess: SASession, grants: Sequence[ScalingGroupGrant], *, is_granted: bool
    ) -> tuple[ScalingGroupGrant, ...]:
        """Add the grants that are missing, or remove those that exist; returns these in the order given.

        Their groups are locked.
        """
        statement = GRANT_SCALING_GROUPS if is_granted else REVOKE_SCALING_GROUPS
        columns = zip(*((each.scaling_group, each.scope.value, each.owner_id) for each in grants), strict=True)
        changed = set(await grants_from_rows(await fetch_rows(db_sess, statement, *map(list, columns))))
        return tuple(grant for grant in dict.fromkeys(grants) if grant in changed)

    async def ensure_slot_types(
        self, db_sess: SASession, slot_types: Sequence[SlotTypeSpec]
    ) -> tuple[SlotType, ...]:
        """Add the slot types that are missing at the next free indexes, and return all there are, by index.

        Raises InvalidInput if one exists with other units, or there would be more than 64. Costs at most three
        statements, and two more for each time that another process adds some at this very moment.
        """
        found = await fetch_slot_types(db_sess)
        while missing := _leave_out_existing(slot_types, found):
            if len(found) + len(missing) > _MOST_SLOT_TYPES:
                raise InvalidInput(
                    f"{len(missing)} slot types ({shortened(', '.join(each.name for each in missing))}) beside "
                    f"{len(found)} are more than the {_MOST_SLOT_TYPES} that a cluster can have, removed ones "
                    "included, as an index is never used again; use types that exist"
                )
            columns = zip(
                *((each.name, each.units_per_whole, each.display_unit) for each in missing), strict=True
            )
            await fetch_rows(db_sess, ADD_SLOT_TYPES, *map(list, columns))
            found = await fetch_slot_types(db_sess)
        units = {slot_type.name: slot_type.units_per_whole for slot_type in found}
        for slot_type in slot_types:
            if units[slot_type.name] != slot_type.units_per_whole:
                raise InvalidInput(
                    f"slot {slot_type.name} exists with {units[slot_type.name]} units per whole, not "
                    f"{slot_type.units_per_whole}; amounts cannot be mixed, use the existing units"
                )
        return found


def _leave_out_existing(wanted: Sequence[SlotTypeSpec], found: Sequence[SlotType]) -> tuple[SlotTypeSpec, ...]:
    existing = {slot_type.name for slot_type in found}
    return tuple({each.name: each for each in wanted if each.name not in existing}.values())


def group_from_row(row: "Record") -> ScalingGroup:
    """Build a group from a row that has its columns."""
    return build_struct(ScalingGroup, row)


async def grants_from_rows(rows: "Sequence[Record]") -> tuple[ScalingGroupGrant, ...]:
    """Build the grants of the rows that have a scope, in their order."""
    return await GRANTS.read(row for row in rows if row["scope"] is not None)


def _grant_from_row(row: "Record") -> ScalingGroupGrant:
    return ScalingGroupGrant(row["scaling_group"], OwnerScope(row["scope"]), row["owner_id"])


GROUPS: Final = RowReader("scaling group", group_from_row, "name")
GRANTS: Final = RowReader("scaling group grant", _grant_from_row, "owner_id")


def _or_null(value: Union[object, msgspec.UnsetType]) -> Optional[object]:
    return None if value is msgspec.UNSET else value
