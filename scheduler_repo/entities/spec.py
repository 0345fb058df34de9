"""The base of what callers hand in: frozen structs that refuse likely mistakes where they are made."""

from collections.abc import Iterable
from datetime import timedelta

import msgspec

from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import quoted
from scheduler_repo.types import (
    ClusterMode,
    MountPermission,
    OwnerScope,
    PreemptionScope,
    SessionType,
)

# What structs do not check by themselves, and what would go wrong far from the mistake: a string given for a
# tuple would be taken apart by letters, a word given for an enum has no ``value``.
_FIELD_KINDS: dict[str, type] = {
    **dict.fromkeys(("kernels", "designated_agent_ids", "depends_on", "mounts"), tuple),
    **dict.fromkeys(("domains", "projects", "users", "keypairs", "resource_policies", "quotas"), tuple),
    **dict.fromkeys(("slot_types", "scaling_groups", "agents", "sessions"), tuple),
    "session_type": SessionType,
    "cluster_mode": ClusterMode,
    "permission": MountPermission,
    "scope": OwnerScope,
    "preemption_scope": PreemptionScope,
    "preemption_min_runtime": timedelta,
    "pending_timeout": timedelta,
    **dict.fromkeys(("is_active", "is_public"), bool),
}
_MAY_BE_NONE = frozenset({"preemption_scope", "pending_timeout"})


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """A struct that refuses the most likely mistakes where they are made; raises InvalidInput."""

    def __post_init__(self) -> None:
        check_fields(self, self.__struct_fields__)


def check_fields(struct: msgspec.Struct, names: Iterable[str]) -> None:
    """Raise InvalidInput for the first of these fields whose value is not of the field's kind."""
    for name in _FIELD_KINDS.keys() & set(names):
        value, kind = getattr(struct, name), _FIELD_KINDS[name]
        if not isinstance(value, kind) and not (value is None and name in _MAY_BE_NONE):
            raise InvalidInput(
                f"{type(struct).__name__}.{name} is {quoted(value)}, it must be a {kind.__name__}"
            )
