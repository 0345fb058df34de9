"""One session, and what belongs to it, as it stands in the database."""

from typing import cast
from uuid import UUID

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.vfolder import MountSpec, VFolderSpec
from scheduler_repo.errors import InvalidInput, InvalidLimit, ScalingGroupNotFound, SessionNotFound
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.repositories.vfolder.db_source import VFolderDBSource
from scheduler_repo.repositories.vfolder.repository import VFolderRepository
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    ClusterMode,
    MountPermission,
    ScalingGroupName,
    SessionId,
    SessionResult,
    SessionStatus,
    SessionType,
)
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import (
    ACCESS_KEY,
    DOMAIN,
    GROUP,
    OTHER_GROUP,
    PROJECT,
    USER,
    agent,
    cluster,
    kernel_id,
    place,
    session,
    session_id,
)

NOBODY = SessionId(UUID(int=7))


class TestSessionReads:
    @pytest.fixture
    def repository(self, engine: ExtendedAsyncSAEngine) -> SessionRepository:
        return SessionRepository(SessionDBSource(engine))

    @pytest.fixture
    def vfolders(self, engine: ExtendedAsyncSAEngine) -> VFolderRepository:
        return VFolderRepository(VFolderDBSource(engine))

    async def test_a_session_by_its_id(
        self, repository: SessionRepository, load: Load, scheduler: SchedulerRepository
    ) -> None:
        # given
        spec = session(1, 2, 3, designated=(AgentId("b"), AgentId("a")))
        await load(cluster([agent("a"), agent("b")], [spec]))
        await scheduler.allocate_sessions(GROUP, [place(1, "a", "b")])
        # when
        found = await repository.get_session_by_id(session_id(1))
        # then
        assert found == await repository.find_session(session_id(1))
        assert (found.session_id, found.name, found.scaling_group) == (session_id(1), "session-1", GROUP)
        assert (found.access_key, found.user_id, found.project_id) == (ACCESS_KEY, USER, PROJECT)
        assert (found.domain_name, found.priority, found.retry_count) == (DOMAIN, 10, 0)
        assert (found.session_type, found.cluster_mode) == (SessionType.BATCH, ClusterMode.MULTI_NODE)
        assert (found.status, found.result) == (SessionStatus.SCHEDULED, None)
        assert found.designated_agent_ids == ("a", "b")
        assert (found.failed_agent_ids, found.dispatched_at, found.requested_start_at) == ((), None, None)
        assert found.created_at < found.status_changed_at

    async def test_the_info_sums_what_the_kernels_request(
        self, repository: SessionRepository, load: Load, owner_connection: DriverConnection
    ) -> None:
        # given a kernel from before the second slot type, and one that asks for as much as can be stored
        await load(cluster([], [session(1, 2, 3, 4)]))
        await owner_connection.execute(
            "UPDATE kernels SET requested_slots = '{5}' WHERE id = $1", kernel_id(1, 0)
        )
        await owner_connection.execute(
            "UPDATE kernels SET requested_slots = $2 WHERE id = $1", kernel_id(1, 1), [2**63 - 1, 2]
        )
        # when
        info = await repository.get_session_info(session_id(1))
        # then
        assert info.requested_slots == (5 + 2**63 - 1 + 4, 2 + 1)
        assert all(type(amount) is int for amount in info.requested_slots)
        (listed,) = await repository.list_sessions_by_access_key(ACCESS_KEY)
        assert listed == info
        whole = await repository.get_session_by_id(session_id(1))
        shared = set(info.__struct_fields__) & set(whole.__struct_fields__)
        assert len(shared) == len(info.__struct_fields__) - 1
        assert all(getattr(info, field) == getattr(whole, field) for field in shared)

    async def test_a_session_that_is_not_there(self, repository: SessionRepository) -> None:
        assert await repository.find_session(NOBODY) is None
        for call in (
            repository.get_session_by_id,
            repository.get_session_info,
            repository.get_session_state,
            repository.get_session_with_dependencies,
        ):
            with pytest.raises(SessionNotFound, match=f"there is no session {NOBODY}; correct the id"):
                await call(NOBODY)

    @pytest.mark.parametrize("malformed", ["7", None, 7, b"7"])
    async def test_an_id_that_is_none(self, repository: SessionRepository, malformed: object) -> None:
        for call in (
            repository.get_session_by_id,
            repository.find_session,
            repository.get_session_info,
            repository.get_session_state,
            repository.get_session_with_dependencies,
        ):
            with pytest.raises(InvalidInput, match=r"session id .* must be a UUID"):
                await call(cast(SessionId, malformed))

    async def test_all_that_belongs_to_a_session(
        self,
        repository: SessionRepository,
        vfolders: VFolderRepository,
        load: Load,
        scheduler: SchedulerRepository,
        owner_connection: DriverConnection,
    ) -> None:
        # given: 2 depends on a pending, a succeeded and a purged one; 3 and 4 wait for it
        await load(cluster([agent("a")], [session(0, 1), session(1, 1)]))
        data, home = await vfolders.create_vfolders(
            [
                VFolderSpec(name="data", host="nfs", project_id=PROJECT),
                VFolderSpec(name="home", host="nfs", user_id=USER),
            ]
        )
        gone = session_id(99)
        spec = session(2, 1, 2, depends_on=(gone, session_id(1), session_id(0)))
        mounts = (
            MountSpec(vfolder_id=home, mount_path="/home", permission=MountPermission.READ_ONLY),
            MountSpec(vfolder_id=data, mount_path="/Data"),
            MountSpec(vfolder_id=data, mount_path="/again"),
        )
        await repository.create_session(msgspec.structs.replace(spec, mounts=mounts))
        await repository.create_sessions(
            [session(4, 1, depends_on=(session_id(2),)), session(3, 1, depends_on=(session_id(2),))]
        )
        await owner_connection.execute(
            "UPDATE sessions SET status = 'TERMINATED', result = 'SUCCESS' WHERE id = $1", session_id(1)
        )
        # when
        found = await repository.get_session_with_dependencies(session_id(2))
        # then
        assert found.session == await repository.get_session_by_id(session_id(2))
        assert [(k.kernel_id, k.kernel_index, k.requested_slots) for k in found.kernels] == [
            (kernel_id(2, 0), 0, (1, 1)),
            (kernel_id(2, 1), 1, (2, 1)),
        ]
        assert [(m.mount_path, m.vfolder.name, m.permission) for m in found.mounts] == [
            ("/Data", "data", MountPermission.READ_WRITE),
            ("/again", "data", MountPermission.READ_WRITE),
            ("/home", "home", MountPermission.READ_ONLY),
        ]
        assert [(d.depends_on, d.status, d.result) for d in found.dependencies] == [
            (session_id(0), SessionStatus.PENDING, None),
            (session_id(1), SessionStatus.TERMINATED, SessionResult.SUCCESS),
            (gone, None, None),
        ]
        assert found.dependants == (session_id(3), session_id(4))

    async def test_the_newest_of_an_access_key(self, repository: SessionRepository, load: Load) -> None:
        # given
        await load(cluster([], [session(number, 1) for number in (3, 1, 2)]))
        # when
        newest = await repository.list_sessions_by_access_key(ACCESS_KEY, limit=2)
        # then: loaded last
        assert [info.session_id for info in newest] == [session_id(2), session_id(1)]
        assert await repository.list_sessions_by_access_key(AccessKey("nobody's")) == ()

    @pytest.mark.parametrize("limit", [0, -1, 1_001, True, 2.0, "5", None])
    async def test_a_limit_out_of_range(self, repository: SessionRepository, limit: object) -> None:
        with pytest.raises(InvalidLimit, match="from 1 to 1000"):
            await repository.list_sessions_by_access_key(ACCESS_KEY, cast(int, limit))

    @pytest.mark.parametrize("access_key", [None, 7, "a\0b", "\ud800"])
    async def test_an_access_key_that_is_none(self, repository: SessionRepository, access_key: object) -> None:
        with pytest.raises(InvalidInput, match="access key"):
            await repository.list_sessions_by_access_key(cast(AccessKey, access_key))

    async def test_active_sessions_of_a_group(
        self, repository: SessionRepository, load: Load, owner_connection: DriverConnection
    ) -> None:
        # given one session in each status, and one that runs in another group
        statuses = list(SessionStatus)
        sessions = [session(number, 1) for number in range(len(statuses))]
        await load(cluster([agent("a")], [*sessions, session(50, 1, scaling_group=OTHER_GROUP)]))
        for number, status in enumerate(statuses):
            await owner_connection.execute(
                "UPDATE sessions SET status = $2 WHERE id = $1", session_id(number), status.value
            )
        await owner_connection.execute("UPDATE sessions SET status = 'RUNNING' WHERE id = $1", session_id(50))
        # then
        assert await repository.count_active_sessions_by_scaling_group(GROUP) == 4
        assert await repository.count_active_sessions_by_scaling_group(OTHER_GROUP) == 1
        assert await repository.count_active_sessions_by_scaling_group(ScalingGroupName("closed")) == 0
        with pytest.raises(ScalingGroupNotFound, match="no scaling group 'gqu'"):
            await repository.count_active_sessions_by_scaling_group(ScalingGroupName("gqu"))
