"""Virtual folders, and which session mounts them where."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, Page
from scheduler_repo.entities.vfolder import MountedVFolder, VFolder, VFolderSpec
from scheduler_repo.repositories.vfolder.db_source import VFolderDBSource
from scheduler_repo.resilience.layers import LayerType, repository_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import OperationId, ProjectId, SessionId, UserId, VFolderId

_resilience = repository_resilience(LayerType.VFOLDER_REPOSITORY)


class VFolderRepository:
    """Creates, finds and lists vfolders; all raise the errors of the database layer.

    ``limit`` is at most 1,000; ``cursor`` is ``next_cursor`` of the page before, None begins.
    """

    def __init__(self, db_source: VFolderDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.WRITE)
    async def create_vfolders(
        self, vfolders: Sequence[VFolderSpec], operation_id: Optional[OperationId] = None
    ) -> tuple[VFolderId, ...]:
        """Create vfolders, all or none, and return their ids in the order given.

        Raises VFolderAlreadyExists, OwnerNotFound, InvalidInput (no owner, or two), OperationMismatch and
        OutcomeUnknown. Asking again under the same ``operation_id`` answers the same and writes nothing twice.
        Costs three statements, whatever the number.
        """
        return await self._db_source.create_vfolders(vfolders, operation_id)

    @_resilience.apply(OperationKind.READ)
    async def get_vfolder_by_id(self, vfolder_id: VFolderId) -> VFolder:
        """Return a vfolder; raises VFolderNotFound, and InvalidInput for an id that is no UUID.

        Costs one statement.
        """
        return await self._db_source.get_vfolder_by_id(vfolder_id)

    @_resilience.apply(OperationKind.READ)
    async def find_vfolder(self, vfolder_id: VFolderId) -> Optional[VFolder]:
        """Return a vfolder, or None where there is none of this id.

        Raises InvalidInput for an id that is no UUID. Costs one statement.
        """
        return await self._db_source.find_vfolder(vfolder_id)

    @_resilience.apply(OperationKind.READ)
    async def search_vfolders_by_user(
        self, user_id: UserId, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[VFolder]:
        """Answer one page of the vfolders that a user owns, by id; none if there is no such user.

        Raises InvalidInput, InvalidLimit and InvalidCursor. Costs one statement; time grows with what the user
        owns.
        """
        return await self._db_source.search_vfolders_by_user(user_id, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def search_vfolders_by_project(
        self, project_id: ProjectId, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[VFolder]:
        """Answer one page of the vfolders that a project owns, by id; none if there is no such project.

        Raises InvalidInput, InvalidLimit and InvalidCursor. Costs one statement; time grows with what the
        project owns.
        """
        return await self._db_source.search_vfolders_by_project(project_id, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def list_mounts_by_session(self, session_id: SessionId) -> tuple[MountedVFolder, ...]:
        """List the vfolders that a session mounts, by path; none if there is no such session.

        Raises InvalidInput for an id that is no UUID. Costs one statement.
        """
        return await self._db_source.list_mounts_by_session(session_id)
