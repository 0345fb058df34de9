"""Virtual folders in PostgreSQL."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Final, Optional, Union

import msgspec

from scheduler_repo.database.bulk import copy_rows
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.statements import Statement, fetch_rows, load_statement
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page, check_limit
from scheduler_repo.entities.vfolder import MountedVFolder, VFolder, VFolderSpec
from scheduler_repo.errors import InvalidInput, VFolderNotFound
from scheduler_repo.repositories.vfolder.transforms import mount_of, vfolder_of
from scheduler_repo.resilience.layers import LayerType, db_source_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import OperationId, ProjectId, SessionId, UserId, VFolderId
from scheduler_repo.validation import check_ids, check_text, checked_batch

VFOLDER_BY_ID = load_statement("vfolder/vfolder_by_id")
VFOLDERS_OF_USER = load_statement("vfolder/vfolders_of_user")
VFOLDERS_OF_PROJECT = load_statement("vfolder/vfolders_of_project")
SESSION_MOUNTS = load_statement("vfolder/session_mounts")

_CREATE_VFOLDERS = IdempotentWrite("create_vfolders", tuple[VFolderId, ...])
_COLUMNS: Final = ("id", "name", "host", "user_id", "project_id")


class _OfOwner(msgspec.Struct, frozen=True):
    owner: str
    owner_id: Union[UserId, ProjectId]


_CURSORS: Final = CursorCodec("search_vfolders", tuple[VFolderId])

_resilience = db_source_resilience(LayerType.VFOLDER_DB_SOURCE)


class VFolderDBSource:
    """Creates, finds and lists vfolders, and what sessions mount of them."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.WRITE)
    async def create_vfolders(
        self, vfolders: Sequence[VFolderSpec], operation_id: Optional[OperationId] = None
    ) -> tuple[VFolderId, ...]:
        """Create vfolders, all or none; raises VFolderAlreadyExists, OwnerNotFound and InvalidInput.

        Costs three statements.
        """
        for vfolder in checked_batch(vfolders, VFolderSpec, "vfolders"):
            _check_spec(vfolder)
        if not vfolders:
            return ()

        async def create(write: WriteTransaction) -> tuple[VFolderId, ...]:
            rows = [(each.vfolder_id, each.name, each.host, each.user_id, each.project_id) for each in vfolders]
            # Of two callers with the same one waits and finds them; in unlike orders they would deadlock.
            await copy_rows(write.db_sess, "vfolders", _COLUMNS, sorted(rows, key=itemgetter(0)))
            return tuple(each.vfolder_id for each in vfolders)

        return await _CREATE_VFOLDERS.run(self._engine, create, request=vfolders, operation_id=operation_id)

    @_resilience.apply(OperationKind.READ)
    async def get_vfolder_by_id(self, vfolder_id: VFolderId) -> VFolder:
        """Return a vfolder; raises VFolderNotFound and InvalidInput. Costs one statement."""
        check_ids("vfolder", (vfolder_id,))
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, VFOLDER_BY_ID, vfolder_id)
        if not rows:
            raise VFolderNotFound(f"there is no vfolder {vfolder_id}; correct the id or create it")
        return vfolder_of(rows[0])

    @_resilience.apply(OperationKind.READ)
    async def find_vfolder(self, vfolder_id: VFolderId) -> Optional[VFolder]:
        """Return a vfolder, None if there is none; raises InvalidInput. Costs one statement."""
        check_ids("vfolder", (vfolder_id,))
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, VFOLDER_BY_ID, vfolder_id)
        return vfolder_of(rows[0]) if rows else None

    @_resilience.apply(OperationKind.READ)
    async def search_vfolders_by_user(
        self, user_id: UserId, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[VFolder]:
        """Answer one page of a user's vfolders, by id.

        Raises InvalidInput, InvalidLimit and InvalidCursor. Costs one statement.
        """
        return await self._page(VFOLDERS_OF_USER, _OfOwner("user", user_id), limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def search_vfolders_by_project(
        self, project_id: ProjectId, limit: int = DEFAULT_PAGE, cursor: Optional[Cursor] = None
    ) -> Page[VFolder]:
        """Answer one page of a project's vfolders, by id.

        Raises InvalidInput, InvalidLimit and InvalidCursor. Costs one statement.
        """
        return await self._page(VFOLDERS_OF_PROJECT, _OfOwner("project", project_id), limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def list_mounts_by_session(self, session_id: SessionId) -> tuple[MountedVFolder, ...]:
        """List what a session mounts, by path; raises InvalidInput. Costs one statement."""
        check_ids("session", (session_id,))
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, SESSION_MOUNTS, session_id)
        return tuple(map(mount_of, rows))

    async def _page(
        self, statement: Statement, question: _OfOwner, limit: int, cursor: Optional[Cursor]
    ) -> Page[VFolder]:
        check_ids(question.owner, (question.owner_id,))
        check_limit(limit)
        after = None if cursor is None else _CURSORS.decode(question, cursor)[0]
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, statement, question.owner_id, after, limit + 1)
        items = tuple(map(vfolder_of, rows[:limit]))
        if len(rows) <= limit:
            return Page(items, None)
        return Page(items, _CURSORS.encode(question, (items[-1].vfolder_id,)))


def _check_spec(vfolder: VFolderSpec) -> None:
    check_ids("vfolder", (vfolder.vfolder_id,))
    subject = f"vfolder {vfolder.vfolder_id}"
    check_text(vfolder.name, f"{subject}, name")
    check_text(vfolder.host, f"{subject}, host")
    owners = [owner for owner in (vfolder.user_id, vfolder.project_id) if owner is not None]
    check_ids(f"{subject}: owner", owners)
    if len(owners) != 1:
        raise InvalidInput(f"{subject} has {len(owners)} owners; give a user or a project, one of the two")
