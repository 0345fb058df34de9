"""Virtual folders, and which session mounts them where."""

from collections.abc import Sequence
from typing import Final, Optional, Union

from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.entities.vfolder import MountedVFolder, VFolder, VFolderSpec
from scheduler_repo.errors import InvalidInput, VFolderNotFound
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.repositories.vfolder.db_source import (
    MOUNTS,
    VFolderDBSource,
    VFolderOwner,
    vfolder_from_row,
)
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.steps import in_slices
from scheduler_repo.types import OperationId, ProjectId, SessionId, UserId, VFolderId
from scheduler_repo.validation import check_id, check_ids, check_limit, check_text, checked_batch

_resilience = layer_resilience(LayerType.VFOLDER_REPOSITORY)
_CREATE_VFOLDERS = IdempotentWrite("create_vfolders", tuple[VFolderId, ...], wakes=False)
_CURSORS: Final = CursorCodec("search_vfolders", tuple[VFolderId])


class VFolderRepository(Repository[VFolderDBSource]):
    """Creates, finds and lists vfolders.

    ``limit`` is at most 1,000; ``cursor`` is ``next_cursor`` of the page before, None begins. All methods raise
    InvalidInput for a malformed id, and the errors of the database layer; searches InvalidLimit and
    InvalidCursor too. Reads cost one statement; the time of a search grows with what its owner owns.
    """

    source_type = VFolderDBSource

    @_resilience.apply(OperationKind.WRITE)
    async def create_vfolders(
        self, vfolders: Sequence[VFolderSpec], *, operation_id: Optional[OperationId] = None
    ) -> tuple[VFolderId, ...]:
        """Create vfolders, all or none, and return their ids in the order given.

        Raises VFolderAlreadyExists, OwnerNotFound, InvalidInput (no owner, or two), OperationMismatch and
        OutcomeUnknown. Asking again under the same ``operation_id`` answers the same and writes nothing twice.
        Costs three statements, whatever the number.
        """
        async for vfolder in in_slices(checked_batch(vfolders, VFolderSpec, "vfolders")):
            _check_spec(vfolder)
        if not vfolders:
            return ()

        async def create(write: WriteTransaction) -> tuple[VFolderId, ...]:
            await self._db_source.insert_vfolders(write.db_sess, vfolders)
            return tuple(each.vfolder_id for each in vfolders)

        return await _CREATE_VFOLDERS.run(self._db, create, request=vfolders, operation_id=operation_id)

    @_resilience.apply(OperationKind.READ)
    async def get_vfolder_by_id(self, vfolder_id: VFolderId) -> VFolder:
        """Return a vfolder; raises VFolderNotFound."""
        found = await self._find(vfolder_id)
        if found is None:
            raise VFolderNotFound(
                f"there is no vfolder {vfolder_id}; correct the id or create it", vfolder_id=vfolder_id
            )
        return found

    @_resilience.apply(OperationKind.READ)
    async def find_vfolder(self, vfolder_id: VFolderId) -> Optional[VFolder]:
        """Return a vfolder, or None if no vfolder has this id."""
        return await self._find(vfolder_id)

    @_resilience.apply(OperationKind.READ)
    async def search_vfolders_by_user(
        self, user_id: UserId, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[VFolder]:
        """Return one page of the vfolders that a user owns, by id; none if there is no such user."""
        return await self._search("user", user_id, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def search_vfolders_by_project(
        self, project_id: ProjectId, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[VFolder]:
        """Return one page of the vfolders that a project owns, by id; none if there is no such project."""
        return await self._search("project", project_id, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def list_mounts_by_session(self, session_id: SessionId) -> tuple[MountedVFolder, ...]:
        """List the vfolders that a session mounts, by path; none if there is no such session."""
        check_id(session_id, "session")
        rows = await self._read(self._db_source.list_mounts_of_session, session_id)
        return await MOUNTS.read(rows)

    async def _find(self, vfolder_id: VFolderId) -> Optional[VFolder]:
        check_id(vfolder_id, "vfolder")
        row = await self._read(self._db_source.find_vfolder, vfolder_id)
        return None if row is None else vfolder_from_row(row)

    async def _search(
        self, owner: VFolderOwner, owner_id: Union[UserId, ProjectId], limit: int, cursor: Optional[Cursor]
    ) -> Page[VFolder]:
        check_id(owner_id, owner)
        check_limit(limit)
        question = {"owner": owner, "owner_id": owner_id}
        after = None if cursor is None else _CURSORS.decode(question, cursor)[0]
        rows = await self._read(self._db_source.list_vfolders, owner, owner_id, after, limit + 1)
        return _CURSORS.page(question, [*map(vfolder_from_row, rows)], limit, lambda each: (each.vfolder_id,))


def _check_spec(vfolder: VFolderSpec) -> None:
    check_id(vfolder.vfolder_id, "vfolder")
    subject = f"vfolder {vfolder.vfolder_id}"
    check_text(vfolder.name, f"{subject}, name")
    check_text(vfolder.host, f"{subject}, host")
    owners = [owner for owner in (vfolder.user_id, vfolder.project_id) if owner is not None]
    check_ids(owners, f"{subject}: owner")
    if len(owners) != 1:
        raise InvalidInput(f"{subject} has {len(owners)} owners; give a user or a project, one of the two")
