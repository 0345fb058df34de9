"""The statements that change the options of a group, and what may be asked of them."""

from datetime import timedelta
from typing import Optional, Union

import msgspec

from scheduler_repo.database.idempotent_write import WriteTransaction
from scheduler_repo.database.lookups import no_such_group
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.scaling_group import ScalingGroup, ScalingGroupChanges
from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import quoted
from scheduler_repo.repositories.scaling_group.reading import group_infos
from scheduler_repo.types import PreemptionScope, ScalingGroupName

UPDATE_SCALING_GROUP = load_statement("scaling_group/update_scaling_group")

_KINDS: dict[str, type] = {
    "is_active": bool,
    "is_public": bool,
    "pending_timeout": timedelta,
    "preemption_scope": PreemptionScope,
    "preemption_min_runtime": timedelta,
}
_MAY_BE_NONE = frozenset({"pending_timeout", "preemption_scope"})


def check_changes(changes: object) -> None:
    """Raise InvalidInput for what are no changes of a group, or set an option to what it cannot be."""
    if not isinstance(changes, ScalingGroupChanges):
        raise InvalidInput(f"{quoted(changes)} is a {type(changes).__name__}; give ScalingGroupChanges")
    for name, value in msgspec.structs.asdict(changes).items():
        if value is msgspec.UNSET or (value is None and name in _MAY_BE_NONE):
            continue
        if not isinstance(value, _KINDS[name]):
            raise InvalidInput(
                f"ScalingGroupChanges.{name} is {quoted(value)}, it must be a {_KINDS[name].__name__}"
            )
    check_times(
        "ScalingGroupChanges",
        changes.pending_timeout if isinstance(changes.pending_timeout, timedelta) else None,
        changes.preemption_min_runtime if isinstance(changes.preemption_min_runtime, timedelta) else None,
    )


def check_times(subject: str, pending_timeout: Optional[timedelta], min_runtime: Optional[timedelta]) -> None:
    """Raise InvalidInput for a timeout that is not above 0, or a shortest run below 0; ``subject`` is named."""
    if pending_timeout is not None and pending_timeout <= timedelta():
        raise InvalidInput(
            f"{subject}: pending_timeout is {pending_timeout}, it must be above 0; None is no limit"
        )
    if min_runtime is not None and min_runtime < timedelta():
        raise InvalidInput(f"{subject}: preemption_min_runtime is {min_runtime}, it must be 0 or above")


async def update_group(
    write: WriteTransaction, name: ScalingGroupName, changes: ScalingGroupChanges
) -> ScalingGroup:
    """Change what is set, and return the group as it is then; raises ScalingGroupNotFound. One statement."""
    rows = await fetch_rows(
        write.db_sess,
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
    (group,) = group_infos(rows)
    return group


def _or_null(value: Union[object, msgspec.UnsetType]) -> Optional[object]:
    return None if value is msgspec.UNSET else value
