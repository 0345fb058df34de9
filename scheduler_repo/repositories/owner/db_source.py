"""Owners (domains, projects, users, keypairs), their policies and quotas, in PostgreSQL."""

import re
from collections.abc import Sequence
from typing import Optional

from scheduler_repo.database.bulk import array_text, insert_missing
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession
from scheduler_repo.database.statements import fetch_rows
from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.scaling_group.db_source import SLOT_TYPES
from scheduler_repo.repositories.writing import OpenWrite, WriteKind
from scheduler_repo.resilience.layers import LayerType, db_source_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.transforms import slot_types_by_index
from scheduler_repo.slots import checked_int32, checked_quantity, slot_limits
from scheduler_repo.specs import OwnersSpec, QuotaSpec, ResourcePolicySpec
from scheduler_repo.types import OperationId, OwnerScope, SlotName

# As PostgreSQL writes it, and the table's CHECK wants it.
_UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SCOPES_BY_ID = (OwnerScope.USER, OwnerScope.PROJECT)

_REGISTER_OWNERS = WriteKind("register_owners", type(None))

_POLICY_COLUMNS = (
    ("name", "text"),
    ("slot_limits", "bigint[]"),
    ("max_concurrent_sessions", "int4"),
    ("max_kernels_per_session", "int4"),
)
_QUOTA_COLUMNS = (
    ("scope", "text"),
    ("owner_id", "text"),
    ("resource_policy", "text"),
    ("slot_limits", "bigint[]"),
    ("max_concurrent_sessions", "int4"),
)


_resilience = db_source_resilience(LayerType.OWNER_DB_SOURCE)


class OwnerDBSource:
    """Registers owners."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.WRITE)
    async def register_owners(self, owners: OwnersSpec, operation_id: Optional[OperationId] = None) -> None:
        """Make sure that these owners, policies and quotas exist; those that do are left as they are.

        All or nothing. Raises UnknownSlotType, InvalidQuantity, AlreadyExists (another user or project of the
        domain has the name), ConstraintViolated (a user of a domain that does not exist), OperationMismatch and
        OutcomeUnknown. Costs nine statements, whatever the number.
        """

        async def register(write: OpenWrite) -> None:
            slot_types = slot_types_by_index(await fetch_rows(write.db_sess, SLOT_TYPES))
            await insert_owners(write.db_sess, owners, [slot_type.name for slot_type in slot_types])

        await _REGISTER_OWNERS.run(self._engine, register, request=owners, operation_id=operation_id)


async def insert_owners(db_sess: SASession, owners: OwnersSpec, slot_names: Sequence[SlotName]) -> None:
    """Add the owners, policies and quotas that are missing, in the session's transaction."""
    await insert_missing(db_sess, "domains", (("name", "text"),), [(name,) for name in owners.domains])
    named = (("id", "uuid"), ("name", "text"), ("domain_name", "text"))
    projects = [(project.project_id, project.name, project.domain_name) for project in owners.projects]
    await insert_missing(db_sess, "projects", named, projects)
    users = [(user.user_id, user.name, user.domain_name) for user in owners.users]
    await insert_missing(db_sess, "users", named, users)
    keypairs = [(keypair.access_key, keypair.user_id) for keypair in owners.keypairs]
    await insert_missing(db_sess, "keypairs", (("access_key", "text"), ("user_id", "uuid")), keypairs)
    policies = [_policy_row(policy, slot_names) for policy in owners.resource_policies]
    await insert_missing(db_sess, "resource_policies", _POLICY_COLUMNS, policies)
    quotas = [_quota_row(quota, slot_names) for quota in owners.quotas]
    await insert_missing(db_sess, "quotas", _QUOTA_COLUMNS, quotas, key_width=2)


def _policy_row(policy: ResourcePolicySpec, slot_names: Sequence[SlotName]) -> tuple[object, ...]:
    subject = f"resource policy {policy.name}"
    return (
        policy.name,
        array_text(slot_limits(policy.slot_limits, slot_names, subject)),
        _checked_count(policy.max_concurrent_sessions, f"{subject}, max_concurrent_sessions"),
        _checked_count(policy.max_kernels_per_session, f"{subject}, max_kernels_per_session"),
    )


def _quota_row(quota: QuotaSpec, slot_names: Sequence[SlotName]) -> tuple[object, ...]:
    subject = f"quota of {quota.scope} {quota.owner_id}"
    if quota.scope in _SCOPES_BY_ID and not _UUID_TEXT.fullmatch(quota.owner_id):
        raise InvalidInput(f"{subject}: the owner_id of a user or project is its UUID in lower case, as text")
    return (
        quota.scope.value,
        quota.owner_id,
        quota.resource_policy,
        array_text(slot_limits(quota.slot_limits, slot_names, subject)),
        _checked_count(quota.max_concurrent_sessions, f"{subject}, max_concurrent_sessions"),
    )


def _checked_count(count: Optional[int], subject: str) -> Optional[int]:
    return None if count is None else checked_int32(checked_quantity(count, subject), subject)
