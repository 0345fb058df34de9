"""Owners of sessions: domains, their projects and users, and the users' keypairs."""

from collections.abc import Sequence
from typing import Final, Optional, TypeVar

from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.lookups import fetch_slot_names
from scheduler_repo.entities.owner import (
    DomainInfo,
    KeypairInfo,
    OwnersSpec,
    ProjectInfo,
    UserInfo,
    check_owners,
)
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.repositories.owner.db_source import (
    DOMAINS,
    KEYPAIRS,
    PROJECTS,
    USERS,
    InfoT,
    OwnerDBSource,
    OwnerTable,
)
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.steps import finish_in_slices, in_slices
from scheduler_repo.types import AccessKey, DomainName, OperationId, OwnerT, ProjectId, UserId
from scheduler_repo.validation import check_kind, check_limit, check_name, checked_sequence

_resilience = layer_resilience(LayerType.OWNER_REPOSITORY)
_REGISTER_OWNERS = IdempotentWrite("register_owners", type(None), wakes=False)
_SET_ACTIVE = IdempotentWrite("set_owners_active", type(None), wakes=False)

NamedT = TypeVar("NamedT", DomainInfo, ProjectInfo, UserInfo)

# The key is the name behind which the next page begins.
_DOMAIN_CURSORS: Final = CursorCodec("search_domains", str)
_PROJECT_CURSORS: Final = CursorCodec("search_projects", str)
_USER_CURSORS: Final = CursorCodec("search_users", str)


class OwnerRepository(Repository[OwnerDBSource]):
    """Registers owners, reads them, and marks them as active or not; owners are never deleted.

    All methods raise InvalidInput for an id or name that cannot be one, before any query, and the errors of the
    database layer. ``get_`` methods raise OwnerNotFound, where ``find_`` ones return None. Reads cost one
    statement, whatever the page.

    A search returns a page of at most ``limit`` (1 to 1,000) by name; ``cursor`` is the ``next_cursor`` of the
    page before, of the same domain. Searches raise InvalidLimit and InvalidCursor; a domain that does not exist
    has no projects and no users.

    ``set_…_active`` marks all owners that are named, or none. The mark is kept for who lets sessions in:
    nothing in this package looks at it. Sessions of an owner that is not active are enqueued and placed as any
    others, and a domain's mark says nothing of its projects, users and keypairs, which have marks of their own.
    To keep an owner from starting sessions, set its quota to ``max_concurrent_sessions`` 0. These methods raise
    OwnerNotFound, OperationMismatch and OutcomeUnknown, and cost three statements, whatever the number.
    """

    source_type = OwnerDBSource

    @_resilience.apply(OperationKind.WRITE)
    async def register_owners(self, owners: OwnersSpec, *, operation_id: Optional[OperationId] = None) -> None:
        """Make sure that these owners, policies and quotas exist, all or none; those that do stay as they are.

        ``set_resource_policies`` and ``set_quotas`` change the limits of those that exist. A quota that is new
        for an owner that is not binds the allocations that begin afterwards; unlike ``set_quotas`` nothing is
        waited for.

        Raises OwnerAlreadyExists (a project, user or keypair of another name, domain or user), AlreadyExists
        (another user or project of the domain has the name), OwnerNotFound (whose user, project, keypair or
        quota it is to be), ResourcePolicyNotFound, UnknownSlotType, InvalidQuantity, OperationMismatch and
        OutcomeUnknown. Costs at most twelve statements, whatever the number.
        """
        await finish_in_slices(check_owners(owners))

        async def register(write: WriteTransaction) -> None:
            slot_names = await fetch_slot_names(write.db_sess)
            await self._db_source.insert_owners(write.db_sess, owners, slot_names)

        await _REGISTER_OWNERS.run(self._db, register, request=owners, operation_id=operation_id)

    @_resilience.apply(OperationKind.READ)
    async def get_domain(self, name: DomainName) -> DomainInfo:
        """Return one domain."""
        return await self._get(DOMAINS, name)

    @_resilience.apply(OperationKind.READ)
    async def find_domain(self, name: DomainName) -> Optional[DomainInfo]:
        """Return one domain, or None if there is none."""
        return await self._find(DOMAINS, name)

    @_resilience.apply(OperationKind.READ)
    async def get_project(self, project_id: ProjectId) -> ProjectInfo:
        """Return one project."""
        return await self._get(PROJECTS, project_id)

    @_resilience.apply(OperationKind.READ)
    async def find_project(self, project_id: ProjectId) -> Optional[ProjectInfo]:
        """Return one project, or None if there is none."""
        return await self._find(PROJECTS, project_id)

    @_resilience.apply(OperationKind.READ)
    async def get_user(self, user_id: UserId) -> UserInfo:
        """Return one user."""
        return await self._get(USERS, user_id)

    @_resilience.apply(OperationKind.READ)
    async def find_user(self, user_id: UserId) -> Optional[UserInfo]:
        """Return one user, or None if there is none."""
        return await self._find(USERS, user_id)

    @_resilience.apply(OperationKind.READ)
    async def get_keypair(self, access_key: AccessKey) -> KeypairInfo:
        """Return one keypair, with its user and that user's domain."""
        return await self._get(KEYPAIRS, access_key)

    @_resilience.apply(OperationKind.READ)
    async def find_keypair(self, access_key: AccessKey) -> Optional[KeypairInfo]:
        """Return one keypair, with its user and that user's domain, or None if there is none."""
        return await self._find(KEYPAIRS, access_key)

    @_resilience.apply(OperationKind.READ)
    async def list_keypairs(self, user_id: UserId) -> tuple[KeypairInfo, ...]:
        """Return all keypairs of a user, by access key; none for a user that does not exist."""
        USERS.check_id(user_id)
        rows = await self._read(self._db_source.list_keypairs, user_id)
        return tuple(KeypairInfo(*row) for row in rows)

    @_resilience.apply(OperationKind.READ)
    async def search_domains(
        self, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[DomainInfo]:
        """Return a page of all domains."""
        return await self._search(DOMAINS, _DOMAIN_CURSORS, None, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def search_projects(
        self, domain_name: DomainName, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[ProjectInfo]:
        """Return a page of a domain's projects."""
        check_name(domain_name, "domain")
        return await self._search(PROJECTS, _PROJECT_CURSORS, domain_name, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def search_users(
        self, domain_name: DomainName, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[UserInfo]:
        """Return a page of a domain's users."""
        check_name(domain_name, "domain")
        return await self._search(USERS, _USER_CURSORS, domain_name, limit, cursor)

    @_resilience.apply(OperationKind.WRITE)
    async def set_domains_active(
        self, names: Sequence[DomainName], is_active: bool, *, operation_id: Optional[OperationId] = None
    ) -> None:
        """Mark domains as active or not; what that means: see the class."""
        await self._set_active(DOMAINS, names, is_active, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def set_projects_active(
        self, project_ids: Sequence[ProjectId], is_active: bool, *, operation_id: Optional[OperationId] = None
    ) -> None:
        """Mark projects as active or not; what that means: see the class."""
        await self._set_active(PROJECTS, project_ids, is_active, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def set_users_active(
        self, user_ids: Sequence[UserId], is_active: bool, *, operation_id: Optional[OperationId] = None
    ) -> None:
        """Mark users as active or not; what that means: see the class."""
        await self._set_active(USERS, user_ids, is_active, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def set_keypairs_active(
        self, access_keys: Sequence[AccessKey], is_active: bool, *, operation_id: Optional[OperationId] = None
    ) -> None:
        """Mark keypairs as active or not; what that means: see the class."""
        await self._set_active(KEYPAIRS, access_keys, is_active, operation_id)

    async def _get(self, table: OwnerTable[OwnerT, InfoT], owner_id: OwnerT) -> InfoT:
        found = await self._find(table, owner_id)
        if found is None:
            raise table.not_found(owner_id)
        return found

    async def _find(self, table: OwnerTable[OwnerT, InfoT], owner_id: OwnerT) -> Optional[InfoT]:
        table.check_id(owner_id)
        row = await self._read(self._db_source.find_owner, table, owner_id)
        return None if row is None else table.info_type(*row)

    async def _search(
        self,
        table: OwnerTable[OwnerT, NamedT],
        cursors: CursorCodec[str],
        domain_name: Optional[DomainName],
        limit: int,
        cursor: Optional[Cursor],
    ) -> Page[NamedT]:
        check_limit(limit)
        question = {"of": domain_name}
        after = None if cursor is None else cursors.decode(question, cursor)
        rows = await self._read(self._db_source.list_owners, table, domain_name, after, limit + 1)
        return cursors.page(question, [table.info_type(*row) for row in rows], limit, lambda each: each.name)

    async def _set_active(
        self,
        table: OwnerTable[OwnerT, InfoT],
        owner_ids: Sequence[OwnerT],
        is_active: bool,
        operation_id: Optional[OperationId],
    ) -> None:
        async for owner_id in in_slices(checked_sequence(owner_ids, f"{table.id_noun}s")):
            table.check_id(owner_id)
        check_kind(is_active, bool, "is_active")
        if not owner_ids:
            return

        async def mark(write: WriteTransaction) -> None:
            marked = await self._db_source.mark_owners(write.db_sess, table, owner_ids, is_active)
            for owner_id in owner_ids:
                if owner_id not in marked:
                    raise table.not_found(owner_id)

        request = (table.key.class_.__tablename__, tuple(owner_ids), is_active)
        await _SET_ACTIVE.run(self._db, mark, request=request, operation_id=operation_id)
