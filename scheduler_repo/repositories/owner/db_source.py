"""The statements of owners: domains, projects, users and keypairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Optional, TypeVar, Union
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute

from scheduler_repo.database.bulk import insert_missing
from scheduler_repo.database.engine import SASession
from scheduler_repo.database.limit_rows import (
    POLICY_COLUMNS,
    QUOTA_COLUMNS,
    policy_row,
    quota_row,
    require_policies,
)
from scheduler_repo.database.lookups import require_owners
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.owner import DomainInfo, KeypairInfo, OwnersSpec, ProjectInfo, UserInfo
from scheduler_repo.errors import OwnerAlreadyExists, OwnerNotFound
from scheduler_repo.models import DomainRow, KeypairRow, ProjectRow, UserRow
from scheduler_repo.quoting import quoted, shortened
from scheduler_repo.repositories.db_source import DBSource
from scheduler_repo.steps import in_slices
from scheduler_repo.types import DomainName, OwnerScope, OwnerT, SlotName, UserId
from scheduler_repo.validation import check_id, check_name

if TYPE_CHECKING:
    from asyncpg import Record

DIFFERING_OWNERS = load_statement("owner/differing_owners")

InfoT = TypeVar("InfoT", DomainInfo, ProjectInfo, UserInfo, KeypairInfo)
Select = sa.Select[*tuple[Any, ...]]


@dataclass(frozen=True)
class OwnerTable(Generic[OwnerT, InfoT]):
    """One kind of owner: what it and its id are called, its struct, its key, and the struct's columns."""

    scope: OwnerScope
    noun: str
    id_noun: str
    info_type: type[InfoT]
    key: InstrumentedAttribute[OwnerT]
    columns: Select

    def check_id(self, owner_id: object) -> None:
        """Raise InvalidInput for what is no id of this kind."""
        if self.key.type.python_type is UUID:
            check_id(owner_id, self.noun)
        else:
            check_name(owner_id, self.id_noun)

    def not_found(self, owner_id: OwnerT) -> OwnerNotFound:
        """Build the error for an owner that does not exist."""
        return OwnerNotFound(
            f"there is no {self.noun} {shortened(owner_id)}; correct the id or name, or register it first",
            scope=self.scope,
            owner_id=str(owner_id),
        )


def _select_named(row: Union[type[ProjectRow], type[UserRow]]) -> Select:
    return sa.select(row.id, row.name, row.domain_name, row.is_active, row.created_at)


_DOMAINS: Select = sa.select(DomainRow.name, DomainRow.is_active, DomainRow.created_at)
_KEYPAIRS: Select = sa.select(
    KeypairRow.access_key, KeypairRow.user_id, UserRow.domain_name, KeypairRow.is_active, KeypairRow.created_at
).join(UserRow, UserRow.id == KeypairRow.user_id)

DOMAINS: Final = OwnerTable(OwnerScope.DOMAIN, "domain", "domain", DomainInfo, DomainRow.name, _DOMAINS)
PROJECTS: Final = OwnerTable(
    OwnerScope.PROJECT, "project", "project", ProjectInfo, ProjectRow.id, _select_named(ProjectRow)
)
USERS: Final = OwnerTable(OwnerScope.USER, "user", "user", UserInfo, UserRow.id, _select_named(UserRow))
KEYPAIRS: Final = OwnerTable(
    OwnerScope.ACCESS_KEY, "keypair", "access key", KeypairInfo, KeypairRow.access_key, _KEYPAIRS
)
_SCOPES: Final = {table.noun: table.scope for table in (DOMAINS, PROJECTS, USERS, KEYPAIRS)}


class OwnerDBSource(DBSource):
    """Registers, reads and marks owners; reads cost one statement."""

    async def insert_owners(
        self, db_sess: SASession, owners: OwnersSpec, slot_names: Sequence[SlotName]
    ) -> None:
        """Add the owners, policies and quotas that are missing; costs at most nine statements.

        Raises OwnerAlreadyExists, OwnerNotFound and ResourcePolicyNotFound (of quotas), UnknownSlotType and the
        database's refusals.
        """
        policies = [policy_row(each, slot_names) async for each in in_slices(owners.resource_policies)]
        quotas = [quota_row(quota, slot_names) async for quota in in_slices(owners.quotas)]
        await insert_missing(db_sess, "domains", (("name", "text"),), [(name,) for name in owners.domains])
        named = (("id", "uuid"), ("name", "text"), ("domain_name", "text"))
        projects = [(each.project_id, each.name, each.domain_name) for each in owners.projects]
        await insert_missing(db_sess, "projects", named, projects)
        users = [(each.user_id, each.name, each.domain_name) for each in owners.users]
        await insert_missing(db_sess, "users", named, users)
        keypairs = [(each.access_key, each.user_id) for each in owners.keypairs]
        await insert_missing(db_sess, "keypairs", (("access_key", "text"), ("user_id", "uuid")), keypairs)
        if projects or users or keypairs:
            columns = [*_columns(projects, 3), *_columns(users, 3), *_columns(keypairs, 2)]
            await _refuse_differing(db_sess, columns)
        await insert_missing(db_sess, "resource_policies", POLICY_COLUMNS, policies)
        if quotas:
            await require_policies(db_sess, owners.quotas)
            await require_owners(db_sess, [(quota.scope, quota.owner_id) for quota in owners.quotas])
            await insert_missing(db_sess, "quotas", QUOTA_COLUMNS, quotas, key_width=2)

    async def find_owner(
        self, db_sess: SASession, table: OwnerTable[OwnerT, InfoT], owner_id: OwnerT
    ) -> Optional[sa.Row[*tuple[Any, ...]]]:
        """Find one owner."""
        return (await db_sess.execute(table.columns.where(table.key == owner_id))).one_or_none()

    async def list_owners(
        self,
        db_sess: SASession,
        table: OwnerTable[OwnerT, InfoT],
        domain_name: Optional[DomainName],
        after: Optional[str],
        limit: int,
    ) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """List the owners of a domain, or of all, by their column ``name``, those behind ``after``."""
        columns = table.columns.selected_columns
        statement = table.columns
        if domain_name is not None:
            statement = statement.where(columns["domain_name"] == domain_name)
        if after is not None:
            statement = statement.where(columns["name"] > after)
        return (await db_sess.execute(statement.order_by(columns["name"]).limit(limit))).all()

    async def list_keypairs(self, db_sess: SASession, user_id: UserId) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """List a user's keypairs by access key."""
        statement = KEYPAIRS.columns.where(KeypairRow.user_id == user_id).order_by(KeypairRow.access_key)
        return (await db_sess.execute(statement)).all()

    async def mark_owners(
        self, db_sess: SASession, table: OwnerTable[OwnerT, InfoT], owner_ids: Sequence[OwnerT], is_active: bool
    ) -> set[OwnerT]:
        """Mark owners, locked by key, and return those that exist; costs one statement."""
        key = table.key
        named = key == sa.any_(sa.cast(list(owner_ids), ARRAY(key.type)))
        # In one order: of two writers one waits for the other, none deadlocks.
        locked = sa.select(key).where(named).order_by(key).with_for_update(key_share=True).cte("locked")
        statement = (
            sa.update(key.class_)
            .where(key == locked.c[key.key])
            .values(is_active=is_active)
            .returning(key)
            .execution_options(synchronize_session=False)
        )
        return set((await db_sess.execute(statement)).scalars())


async def _refuse_differing(db_sess: SASession, columns: Sequence[list[object]]) -> None:
    """Raise OwnerAlreadyExists for the first owner that exists otherwise than it is given.

    A statement of its own, after those that add: it sees what another transaction added while they waited.
    """
    rows: list[Record] = await fetch_rows(db_sess, DIFFERING_OWNERS, *columns)
    for kind, owner_id, name, domain_name, user_id, given_name, given_domain_name, given_user_id in rows:
        found = f"{quoted(name, 200)} of domain {shortened(domain_name)}"
        given = f"{quoted(given_name, 200)} of domain {shortened(given_domain_name)}"
        if kind == "keypair":
            found, given = f"one of user {user_id}", f"one of user {given_user_id}"
        raise OwnerAlreadyExists(
            f"{kind} {owner_id} exists as {found}, it cannot be registered as {given}; give it as it is, or "
            "under another id; nothing was written",
            scope=_SCOPES[kind],
            owner_id=str(owner_id),
        )


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [[row[index] for row in rows] for index in range(width)]
