"""Owners of sessions: domains, their projects and users, and the users' keypairs."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.entities.owner import DomainInfo, KeypairInfo, OwnersSpec, ProjectInfo, UserInfo
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, Page
from scheduler_repo.repositories.owner.db_source import OwnerDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import AccessKey, DomainName, OperationId, ProjectId, UserId

_resilience = layer_resilience(LayerType.OWNER_REPOSITORY, retries=False)


class OwnerRepository:
    """Registers owners, reads them, and marks them as active or not; owners are never deleted.

    All methods raise InvalidInput for an id or name that cannot be one, before any query, and the errors of the
    database layer.
    """

    def __init__(self, db_source: OwnerDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.WRITE)
    async def register_owners(self, owners: OwnersSpec, operation_id: Optional[OperationId] = None) -> None:
        """Make sure that these owners, policies and quotas exist, all or none; those that do stay as they are.

        Policies and quotas that exist keep their limits (``set_resource_policies`` and ``set_quotas`` change
        them); of an owner that exists, name, domain and user must be as given. A quota that is new for an
        owner that is not binds the allocations that begin afterwards; unlike ``set_quotas`` nothing is waited
        for.

        Raises OwnerAlreadyExists (a project, user or keypair of another name, domain or user), AlreadyExists
        (another user or project of the domain has the name), OwnerNotFound (whose user, project, keypair or
        quota it is to be), ResourcePolicyNotFound, UnknownSlotType, InvalidQuantity, InvalidInput,
        OperationMismatch and OutcomeUnknown. Costs at most twelve statements, whatever the number.
        """
        await self._db_source.register_owners(owners, operation_id)

    @_resilience.apply(OperationKind.READ)
    async def get_domain(self, name: DomainName) -> DomainInfo:
        """Return one domain; raises OwnerNotFound and InvalidInput. Costs one statement."""
        return await self._db_source.get_domain(name)

    @_resilience.apply(OperationKind.READ)
    async def find_domain(self, name: DomainName) -> Optional[DomainInfo]:
        """Return one domain, or None if there is none; raises InvalidInput. Costs one statement."""
        return await self._db_source.find_domain(name)

    @_resilience.apply(OperationKind.READ)
    async def get_project(self, project_id: ProjectId) -> ProjectInfo:
        """Return one project; raises OwnerNotFound and InvalidInput. Costs one statement."""
        return await self._db_source.get_project(project_id)

    @_resilience.apply(OperationKind.READ)
    async def find_project(self, project_id: ProjectId) -> Optional[ProjectInfo]:
        """Return one project, or None if there is none; raises InvalidInput. Costs one statement."""
        return await self._db_source.find_project(project_id)

    @_resilience.apply(OperationKind.READ)
    async def get_user(self, user_id: UserId) -> UserInfo:
        """Return one user; raises OwnerNotFound and InvalidInput. Costs one statement."""
        return await self._db_source.get_user(user_id)

    @_resilience.apply(OperationKind.READ)
    async def find_user(self, user_id: UserId) -> Optional[UserInfo]:
        """Return one user, or None if there is none; raises InvalidInput. Costs one statement."""
        return await self._db_source.find_user(user_id)

    @_resilience.apply(OperationKind.READ)
    async def get_keypair(self, access_key: AccessKey) -> KeypairInfo:
        """Return one keypair, with its user and that user's domain; raises OwnerNotFound and InvalidInput.

        Costs one statement.
        """
        return await self._db_source.get_keypair(access_key)

    @_resilience.apply(OperationKind.READ)
    async def find_keypair(self, access_key: AccessKey) -> Optional[KeypairInfo]:
        """Return one keypair as ``get_keypair`` does, or None if there is none; raises InvalidInput.

        Costs one statement.
        """
        return await self._db_source.find_keypair(access_key)

    @_resilience.apply(OperationKind.READ)
    async def list_keypairs(self, user_id: UserId) -> tuple[KeypairInfo, ...]:
        """Return all keypairs of a user, by access key; none for a user that does not exist.

        Raises InvalidInput. Costs one statement.
        """
        return await self._db_source.list_keypairs(user_id)

    @_resilience.apply(OperationKind.READ)
    async def search_domains(
        self, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[DomainInfo]:
        """Return a page of at most ``limit`` (1 to 1,000) of all domains, by name.

        ``cursor`` is the ``next_cursor`` of the page before. Raises InvalidLimit and InvalidCursor. Costs one
        statement, whatever the page.
        """
        return await self._db_source.search_domains(limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def search_projects(
        self, domain_name: DomainName, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[ProjectInfo]:
        """Return a page of at most ``limit`` (1 to 1,000) of a domain's projects, by name.

        ``cursor`` is the ``next_cursor`` of the page before, of the same domain; a domain that does not exist
        has no projects. Raises InvalidInput, InvalidLimit and InvalidCursor. Costs one statement, whatever
        the page.
        """
        return await self._db_source.search_projects(domain_name, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def search_users(
        self, domain_name: DomainName, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[UserInfo]:
        """Return a page of at most ``limit`` (1 to 1,000) of a domain's users, by name.

        ``cursor`` is the ``next_cursor`` of the page before, of the same domain; a domain that does not exist
        has no users. Raises InvalidInput, InvalidLimit and InvalidCursor. Costs one statement, whatever the
        page.
        """
        return await self._db_source.search_users(domain_name, limit, cursor)

    @_resilience.apply(OperationKind.WRITE)
    async def set_domains_active(
        self, names: Sequence[DomainName], is_active: bool, operation_id: Optional[OperationId] = None
    ) -> None:
        """Mark domains as active or not, all or none.

        The mark is kept for who lets sessions in: nothing in this package looks at it. Sessions of an owner
        that is not active are enqueued and placed as any others, and it says nothing of the domain's
        projects, users and keypairs, which have marks of their own. To keep an owner from starting sessions,
        set its quota to ``max_concurrent_sessions`` 0.

        Raises OwnerNotFound, InvalidInput, OperationMismatch and OutcomeUnknown. Costs three statements,
        whatever the number.
        """
        await self._db_source.set_domains_active(names, is_active, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def set_projects_active(
        self, project_ids: Sequence[ProjectId], is_active: bool, operation_id: Optional[OperationId] = None
    ) -> None:
        """Mark projects as active or not, all or none; what that means: see ``set_domains_active``.

        Raises OwnerNotFound, InvalidInput, OperationMismatch and OutcomeUnknown. Costs three statements,
        whatever the number.
        """
        await self._db_source.set_projects_active(project_ids, is_active, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def set_users_active(
        self, user_ids: Sequence[UserId], is_active: bool, operation_id: Optional[OperationId] = None
    ) -> None:
        """Mark users as active or not, all or none; what that means: see ``set_domains_active``.

        Raises OwnerNotFound, InvalidInput, OperationMismatch and OutcomeUnknown. Costs three statements,
        whatever the number.
        """
        await self._db_source.set_users_active(user_ids, is_active, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def set_keypairs_active(
        self, access_keys: Sequence[AccessKey], is_active: bool, operation_id: Optional[OperationId] = None
    ) -> None:
        """Mark keypairs as active or not, all or none; what that means: see ``set_domains_active``.

        Raises OwnerNotFound, InvalidInput, OperationMismatch and OutcomeUnknown. Costs three statements,
        whatever the number.
        """
        await self._db_source.set_keypairs_active(access_keys, is_active, operation_id)
