"""Owners (domains, projects, users, keypairs) in PostgreSQL."""

from collections.abc import Sequence
from typing import Any, Optional, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.lookups import SLOT_TYPES
from scheduler_repo.database.statements import fetch_rows
from scheduler_repo.entities.owner import DomainInfo, KeypairInfo, OwnersSpec, ProjectInfo, UserInfo
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.errors import OwnerNotFound
from scheduler_repo.models.owner import DomainRow, KeypairRow, ProjectRow, UserRow
from scheduler_repo.quoting import shortened
from scheduler_repo.repositories.owner.registering import check_owners, insert_owners
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.snapshot.build import slot_types_by_index
from scheduler_repo.types import AccessKey, DomainName, OperationId, OwnerT, ProjectId, UserId
from scheduler_repo.validation import check_flag, check_ids, check_limit, check_name, checked_sequence

_REGISTER_OWNERS = IdempotentWrite("register_owners", type(None))
_SET_ACTIVE = IdempotentWrite("set_owners_active", type(None))

_DOMAIN = sa.select(DomainRow.name, DomainRow.is_active, DomainRow.created_at)
_PROJECT = sa.select(
    ProjectRow.id, ProjectRow.name, ProjectRow.domain_name, ProjectRow.is_active, ProjectRow.created_at
)
_USER = sa.select(UserRow.id, UserRow.name, UserRow.domain_name, UserRow.is_active, UserRow.created_at)
_KEYPAIR = sa.select(
    KeypairRow.access_key, KeypairRow.user_id, UserRow.domain_name, KeypairRow.is_active, KeypairRow.created_at
).join(UserRow, UserRow.id == KeypairRow.user_id)

InfoT = TypeVar("InfoT", DomainInfo, ProjectInfo, UserInfo, KeypairInfo)
NamedT = TypeVar("NamedT", DomainInfo, ProjectInfo, UserInfo)


class _Question(msgspec.Struct, frozen=True):
    """Whose owners a page shows; None: all."""

    of: Optional[DomainName]


# The name behind which the next page begins.
_DOMAINS = CursorCodec("search_domains", str)
_PROJECTS = CursorCodec("search_projects", str)
_USERS = CursorCodec("search_users", str)

_resilience = layer_resilience(LayerType.OWNER_DB_SOURCE)


class OwnerDBSource:
    """Registers owners, reads them, and says which are active."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.WRITE)
    async def register_owners(self, owners: OwnersSpec, operation_id: Optional[OperationId] = None) -> None:
        """Make sure that these owners, policies and quotas exist; those that do are left as they are.

        Raises what ``OwnerRepository.register_owners`` does. Costs at most twelve statements.
        """
        check_owners(owners)

        async def register(write: WriteTransaction) -> None:
            slot_types = slot_types_by_index(await fetch_rows(write.db_sess, SLOT_TYPES))
            await insert_owners(write.db_sess, owners, [slot_type.name for slot_type in slot_types])

        await _REGISTER_OWNERS.run(self._engine, register, request=owners, operation_id=operation_id)

    @_resilience.apply(OperationKind.READ)
    async def get_domain(self, name: DomainName) -> DomainInfo:
        """Return one domain; raises OwnerNotFound and InvalidInput. Costs one statement."""
        return _existing(await self._find_domain(name), "domain", name)

    @_resilience.apply(OperationKind.READ)
    async def find_domain(self, name: DomainName) -> Optional[DomainInfo]:
        """Return one domain, or None; raises InvalidInput. Costs one statement."""
        return await self._find_domain(name)

    @_resilience.apply(OperationKind.READ)
    async def get_project(self, project_id: ProjectId) -> ProjectInfo:
        """Return one project; raises OwnerNotFound and InvalidInput. Costs one statement."""
        return _existing(await self._find_project(project_id), "project", project_id)

    @_resilience.apply(OperationKind.READ)
    async def find_project(self, project_id: ProjectId) -> Optional[ProjectInfo]:
        """Return one project, or None; raises InvalidInput. Costs one statement."""
        return await self._find_project(project_id)

    @_resilience.apply(OperationKind.READ)
    async def get_user(self, user_id: UserId) -> UserInfo:
        """Return one user; raises OwnerNotFound and InvalidInput. Costs one statement."""
        return _existing(await self._find_user(user_id), "user", user_id)

    @_resilience.apply(OperationKind.READ)
    async def find_user(self, user_id: UserId) -> Optional[UserInfo]:
        """Return one user, or None; raises InvalidInput. Costs one statement."""
        return await self._find_user(user_id)

    @_resilience.apply(OperationKind.READ)
    async def get_keypair(self, access_key: AccessKey) -> KeypairInfo:
        """Return one keypair; raises OwnerNotFound and InvalidInput. Costs one statement."""
        return _existing(await self._find_keypair(access_key), "keypair", access_key)

    @_resilience.apply(OperationKind.READ)
    async def find_keypair(self, access_key: AccessKey) -> Optional[KeypairInfo]:
        """Return one keypair, or None; raises InvalidInput. Costs one statement."""
        return await self._find_keypair(access_key)

    @_resilience.apply(OperationKind.READ)
    async def search_domains(
        self, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[DomainInfo]:
        """Return a page of all domains, by name; raises InvalidLimit and InvalidCursor. Costs one statement."""
        return await self._page(_DOMAIN, DomainInfo, _DOMAINS, None, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def search_projects(
        self, domain_name: DomainName, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[ProjectInfo]:
        """Return a page of a domain's projects, by name; raises InvalidInput, InvalidLimit and InvalidCursor.

        Costs one statement.
        """
        check_name(domain_name, "domain")
        statement = _PROJECT.where(ProjectRow.domain_name == domain_name)
        return await self._page(statement, ProjectInfo, _PROJECTS, domain_name, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def search_users(
        self, domain_name: DomainName, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[UserInfo]:
        """Return a page of a domain's users, by name; raises InvalidInput, InvalidLimit and InvalidCursor.

        Costs one statement.
        """
        check_name(domain_name, "domain")
        statement = _USER.where(UserRow.domain_name == domain_name)
        return await self._page(statement, UserInfo, _USERS, domain_name, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def list_keypairs(self, user_id: UserId) -> tuple[KeypairInfo, ...]:
        """Return a user's keypairs, by access key; raises InvalidInput. Costs one statement."""
        check_ids("user", (user_id,))
        statement = _KEYPAIR.where(KeypairRow.user_id == user_id).order_by(KeypairRow.access_key)
        async with self._engine.begin_readonly_session() as db_sess:
            rows = (await db_sess.execute(statement)).all()
        return tuple(KeypairInfo(*row) for row in rows)

    @_resilience.apply(OperationKind.WRITE)
    async def set_domains_active(
        self, names: Sequence[DomainName], is_active: bool, operation_id: Optional[OperationId] = None
    ) -> None:
        """Mark domains, all or none; raises what the repository's does. Costs three statements."""
        for name in checked_sequence(names, "domains"):
            check_name(name, "domain")
        await self._set_active(DomainRow.name, names, is_active, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def set_projects_active(
        self, project_ids: Sequence[ProjectId], is_active: bool, operation_id: Optional[OperationId] = None
    ) -> None:
        """Mark projects, all or none; raises what the repository's does. Costs three statements."""
        check_ids("project", checked_sequence(project_ids, "projects"))
        await self._set_active(ProjectRow.id, project_ids, is_active, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def set_users_active(
        self, user_ids: Sequence[UserId], is_active: bool, operation_id: Optional[OperationId] = None
    ) -> None:
        """Mark users, all or none; raises what the repository's does. Costs three statements."""
        check_ids("user", checked_sequence(user_ids, "users"))
        await self._set_active(UserRow.id, user_ids, is_active, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def set_keypairs_active(
        self, access_keys: Sequence[AccessKey], is_active: bool, operation_id: Optional[OperationId] = None
    ) -> None:
        """Mark keypairs, all or none; raises what the repository's does. Costs three statements."""
        for access_key in checked_sequence(access_keys, "access keys"):
            check_name(access_key, "access key")
        await self._set_active(KeypairRow.access_key, access_keys, is_active, operation_id)

    async def _find_domain(self, name: DomainName) -> Optional[DomainInfo]:
        check_name(name, "domain")
        return await self._one(_DOMAIN.where(DomainRow.name == name), DomainInfo)

    async def _find_project(self, project_id: ProjectId) -> Optional[ProjectInfo]:
        check_ids("project", (project_id,))
        return await self._one(_PROJECT.where(ProjectRow.id == project_id), ProjectInfo)

    async def _find_user(self, user_id: UserId) -> Optional[UserInfo]:
        check_ids("user", (user_id,))
        return await self._one(_USER.where(UserRow.id == user_id), UserInfo)

    async def _find_keypair(self, access_key: AccessKey) -> Optional[KeypairInfo]:
        check_name(access_key, "access key")
        return await self._one(_KEYPAIR.where(KeypairRow.access_key == access_key), KeypairInfo)

    async def _one(self, statement: sa.Select[*tuple[Any, ...]], kind: type[InfoT]) -> Optional[InfoT]:
        async with self._engine.begin_readonly_session() as db_sess:
            row = (await db_sess.execute(statement)).one_or_none()
        return None if row is None else kind(*row)

    async def _page(
        self,
        statement: sa.Select[*tuple[Any, ...]],
        kind: type[NamedT],
        codec: CursorCodec[str],
        of: Optional[DomainName],
        limit: int,
        cursor: Optional[Cursor],
    ) -> Page[NamedT]:
        """Return a page by the selected column ``name``."""
        check_limit(limit)
        name = statement.selected_columns["name"]
        if cursor is not None:
            statement = statement.where(name > codec.decode(_Question(of), cursor))
        async with self._engine.begin_readonly_session() as db_sess:
            rows = (await db_sess.execute(statement.order_by(name).limit(limit + 1))).all()
        items = tuple(kind(*row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(items, codec.encode(_Question(of), items[-1].name) if more else None)

    async def _set_active(
        self,
        key: InstrumentedAttribute[OwnerT],
        owner_ids: Sequence[OwnerT],
        is_active: bool,
        operation_id: Optional[OperationId],
    ) -> None:
        check_flag(is_active, "is_active")
        if not owner_ids:
            return
        table = key.class_.__tablename__

        async def mark(write: WriteTransaction) -> None:
            statement = active_statement(key, owner_ids, is_active)
            marked = set((await write.db_sess.execute(statement)).scalars())
            for owner_id in owner_ids:
                if owner_id not in marked:
                    raise no_such_owner(table.removesuffix("s"), owner_id)

        request = (table, tuple(owner_ids), is_active)
        await _SET_ACTIVE.run(self._engine, mark, request=request, operation_id=operation_id)


def active_statement(
    key: InstrumentedAttribute[OwnerT], owner_ids: Sequence[OwnerT], is_active: bool
) -> sa.sql.dml.ReturningUpdate[OwnerT]:
    """Mark rows by their key, locked in its order: two writers wait for each other, none deadlocks."""
    named = key == sa.any_(sa.cast(list(owner_ids), ARRAY(key.type)))
    locked = sa.select(key).where(named).order_by(key).with_for_update(key_share=True).cte("locked")
    return (
        sa.update(key.class_)
        .where(key == locked.c[key.key])
        .values(is_active=is_active)
        .returning(key)
        .execution_options(synchronize_session=False)
    )


def no_such_owner(kind: str, owner_id: object) -> OwnerNotFound:
    """Make the error for an owner that does not exist."""
    return OwnerNotFound(
        f"there is no {kind} {shortened(owner_id)}; correct the id or name, or register it first"
    )


def _existing(found: Optional[InfoT], kind: str, owner_id: object) -> InfoT:
    if found is None:
        raise no_such_owner(kind, owner_id)
    return found
