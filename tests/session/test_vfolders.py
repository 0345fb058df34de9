"""Vfolders of users and projects, and what sessions mount of them."""

from typing import Final, Optional, cast
from uuid import UUID, uuid4

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.paging import Cursor
from scheduler_repo.entities.vfolder import MountSpec, VFolder, VFolderSpec
from scheduler_repo.errors import (
    InvalidCursor,
    InvalidInput,
    InvalidLimit,
    OwnerNotFound,
    VFolderAlreadyExists,
    VFolderNotFound,
)
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.repositories.vfolder.db_source import VFolderDBSource
from scheduler_repo.repositories.vfolder.repository import VFolderRepository
from scheduler_repo.types import MountPermission, OperationId, ProjectId, SessionId, UserId, VFolderId
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import PROJECT, USER, cluster, session, session_id

NOBODY: Final = UUID(int=7)


def folder(number: int, **owner: object) -> VFolderSpec:
    spec = VFolderSpec(vfolder_id=VFolderId(UUID(int=number)), name=f"data-{number}", host="nfs")
    return msgspec.structs.replace(spec, **(owner or {"user_id": USER}))


class TestVFolders:
    @pytest.fixture
    def repository(self, engine: ExtendedAsyncSAEngine) -> VFolderRepository:
        return VFolderRepository(VFolderDBSource(engine))

    @pytest.fixture(autouse=True)
    async def loaded(self, load: Load) -> None:
        await load(cluster([], []))

    async def test_vfolders_of_both_kinds_of_owner(self, repository: VFolderRepository) -> None:
        # given
        mine, ours = folder(2), folder(1, project_id=PROJECT)
        # when
        created = await repository.create_vfolders([mine, ours])
        # then
        assert created == (mine.vfolder_id, ours.vfolder_id)
        found = await repository.get_vfolder_by_id(mine.vfolder_id)
        assert found == VFolder(mine.vfolder_id, "data-2", "nfs", USER, None, found.created_at)
        assert await repository.find_vfolder(mine.vfolder_id) == found
        assert (await repository.search_vfolders_by_user(USER)).items == (found,)
        (of_project,) = (await repository.search_vfolders_by_project(PROJECT)).items
        assert (of_project.vfolder_id, of_project.project_id) == (ours.vfolder_id, PROJECT)

    async def test_all_or_none(self, repository: VFolderRepository, owner_connection: DriverConnection) -> None:
        # given
        await repository.create_vfolders([folder(1)])
        # then
        with pytest.raises(VFolderAlreadyExists, match=str(UUID(int=1))):
            await repository.create_vfolders([folder(2), folder(1)])
        with pytest.raises(VFolderAlreadyExists):
            await repository.create_vfolders([folder(3), folder(3)])
        with pytest.raises(OwnerNotFound, match=f"user does not exist.*{NOBODY}"):
            await repository.create_vfolders([folder(2), folder(3, user_id=UserId(NOBODY))])
        with pytest.raises(OwnerNotFound, match=f"project does not exist.*{NOBODY}"):
            await repository.create_vfolders([folder(2), folder(3, project_id=ProjectId(NOBODY))])
        assert await owner_connection.fetchval("SELECT count(*) FROM vfolders") == 1
        assert await repository.create_vfolders([]) == ()

    async def test_asking_again_under_an_operation_id_answers_the_same(
        self, repository: VFolderRepository
    ) -> None:
        one = OperationId(uuid4())
        first = await repository.create_vfolders([folder(1)], operation_id=one)
        assert await repository.create_vfolders([folder(1)], operation_id=one) == first

    async def test_a_vfolder_that_is_not_there(self, repository: VFolderRepository) -> None:
        assert await repository.find_vfolder(VFolderId(NOBODY)) is None
        with pytest.raises(VFolderNotFound, match=f"there is no vfolder {NOBODY}"):
            await repository.get_vfolder_by_id(VFolderId(NOBODY))

    @pytest.mark.parametrize("limit", [1, 4, 10, 11])
    async def test_page_by_page(self, repository: VFolderRepository, limit: int) -> None:
        # given
        await repository.create_vfolders([folder(number) for number in range(10, 0, -1)])
        await repository.create_vfolders([folder(20, project_id=PROJECT)])
        # when
        found: list[VFolderId] = []
        cursor: Optional[Cursor] = None
        while True:
            page = await repository.search_vfolders_by_user(USER, limit, cursor)
            found.extend(each.vfolder_id for each in page.items)
            assert len(found) <= 100, "it goes in circles"
            cursor = page.next_cursor
            if cursor is None:
                break
        # then
        assert found == [UUID(int=number) for number in range(1, 11)]

    async def test_what_is_malformed_is_refused_before_any_query(
        self, unreachable: ExtendedAsyncSAEngine, repository: VFolderRepository
    ) -> None:
        # given
        await repository.create_vfolders([folder(1), folder(2)])
        cursor = (await repository.search_vfolders_by_user(USER, 1)).next_cursor
        nowhere = VFolderRepository(VFolderDBSource(unreachable))
        # then
        for odd in ("x", None, 7):
            with pytest.raises(InvalidInput, match=r"vfolder id .* must be a UUID"):
                await nowhere.get_vfolder_by_id(cast(VFolderId, odd))
            with pytest.raises(InvalidInput, match=r"user id .* must be a UUID"):
                await nowhere.search_vfolders_by_user(cast(UserId, odd))
            with pytest.raises(InvalidInput, match=r"session id .* must be a UUID"):
                await nowhere.list_mounts_by_session(cast(SessionId, odd))
            with pytest.raises(InvalidInput, match="give a VFolderSpec"):
                await nowhere.create_vfolders([folder(1), cast(VFolderSpec, odd)])
        for spec, words in (
            (folder(1, vfolder_id="x"), "vfolder id 'x'"),
            (folder(1, name="a\0"), "name"),
            (folder(1, host=None), "host"),
            (folder(1, user_id="ada"), "owner id 'ada'"),
            (folder(1, user_id=None), "has 0 owners"),
            (folder(1, user_id=USER, project_id=PROJECT), "has 2 owners"),
        ):
            with pytest.raises(InvalidInput, match=words):
                await nowhere.create_vfolders([spec])
        with pytest.raises(InvalidLimit):
            await nowhere.search_vfolders_by_project(PROJECT, 1_001)
        with pytest.raises(InvalidCursor):
            await nowhere.search_vfolders_by_project(PROJECT, cursor=cursor)

    async def test_what_a_session_mounts(
        self, repository: VFolderRepository, engine: ExtendedAsyncSAEngine
    ) -> None:
        # given
        (vfolder_id,) = await repository.create_vfolders([folder(1)])
        mounts = (
            MountSpec(vfolder_id=vfolder_id, mount_path="/b", permission=MountPermission.READ_ONLY),
            MountSpec(vfolder_id=vfolder_id, mount_path="/a"),
        )
        enqueued = msgspec.structs.replace(session(1, 1), mounts=mounts)
        created = msgspec.structs.replace(session(2, 1), mounts=mounts)
        sessions = SessionRepository(SessionDBSource(engine))
        # when
        await sessions.enqueue_sessions([enqueued, session(3, 1)])
        await sessions.create_sessions([created])
        # then
        for number in (1, 2):
            found = await repository.list_mounts_by_session(session_id(number))
            assert [(each.mount_path, each.permission) for each in found] == [
                ("/a", MountPermission.READ_WRITE),
                ("/b", MountPermission.READ_ONLY),
            ]
            assert {each.vfolder.name for each in found} == {"data-1"}
        assert await repository.list_mounts_by_session(session_id(3)) == ()
