"""What an archive is given: each session that goes, whole, before it goes."""

import errno
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest

from scheduler_repo.entities.retention import ArchivedChange, ArchivedKernel, ArchivedMount, ArchivedSession
from scheduler_repo.models import Base
from scheduler_repo.repositories.retention.repository import RetentionRepository
from scheduler_repo.types import MountPermission, SessionStatus, VFolderId
from tests.support.databases import DriverConnection
from tests.support.old_rows import LIVE, add_all_that_belongs, add_finished, depend, existing
from tests.support.small_cluster import GROUP, kernel_id, session_id

MONTH = timedelta(days=30)
OLD = range(100, 110)

# Columns that an archive lacks: copies of the session's, what follows from the rest, and the order of rows.
COPIED = {"session_id", "scaling_group", "access_key", "user_id", "project_id", "domain_name"}
LEFT_OUT = {
    "sessions": {"has_dependencies"},
    "kernels": COPIED,
    "session_history": {"session_id", "id"},
    "session_vfolder_mounts": {"session_id"},
}


class TestArchive:
    @pytest.fixture
    def archived(self) -> list[ArchivedSession]:
        return []

    @pytest.mark.parametrize(
        "error", [OSError(errno.ENOSPC, "full"), TimeoutError("slow"), ConnectionResetError()]
    )
    async def test_an_error_of_its_own_leaves_as_it_is_and_nothing_goes(
        self, retention: RetentionRepository, owner_connection: DriverConnection, error: OSError
    ) -> None:
        # given
        await add_finished(owner_connection, OLD)
        before, calls = await existing(owner_connection), 0

        async def archive(sessions: Sequence[ArchivedSession]) -> None:
            nonlocal calls
            calls += 1
            raise error

        # when
        with pytest.raises(type(error)) as raised:
            await retention.purge(MONTH, archive=archive)
        # then: it is not the database's, so nobody tries again
        assert raised.value is error
        assert (calls, await existing(owner_connection)) == (1, before)

    async def test_sessions_are_given_whole_and_once(
        self,
        retention: RetentionRepository,
        owner_connection: DriverConnection,
        archived: list[ArchivedSession],
    ) -> None:
        # given
        await add_finished(owner_connection, OLD, status="ERROR")
        await add_all_that_belongs(owner_connection, 100)
        await depend(owner_connection, LIVE[0], on=105)
        there_meanwhile: list[bool] = []

        async def archive(sessions: Sequence[ArchivedSession]) -> None:
            archived.extend(sessions)
            there_meanwhile.append({each.session_id for each in sessions} <= await existing(owner_connection))

        # when
        done = await retention.purge(MONTH, batch_size=4, archive=archive)
        # then: the longest finished first
        numbers = [number for number in OLD if number != 105]
        assert [each.session_id for each in archived] == [session_id(number) for number in numbers]
        assert done.sessions == len(archived)
        assert there_meanwhile == [True, True, True]
        first = archived[0]
        assert (first.name, first.scaling_group, first.status) == ("finished-100", GROUP, SessionStatus.ERROR)
        assert first.kernels[1] == ArchivedKernel(
            kernel_id=kernel_id(100, 1),
            kernel_index=1,
            image="",
            architecture=None,
            status=SessionStatus.ERROR,
            agent_id=first.kernels[1].agent_id,
            requested_slots=(1, 2),
            occupied_slots=(1, 2),
            exit_code=0,
            status_changed_at=first.kernels[1].status_changed_at,
        )
        assert first.history == (
            ArchivedChange(
                None, None, SessionStatus.PENDING, None, first.status_changed_at - timedelta(hours=1)
            ),
            ArchivedChange(None, SessionStatus.PENDING, SessionStatus.ERROR, None, first.status_changed_at),
        )
        assert first.mounts == (ArchivedMount(VFolderId(session_id(100)), "/data", MountPermission.READ_ONLY),)
        assert len(first.depends_on) == 1
        assert all(len(each.kernels) == len(each.history) == 2 for each in archived)

    async def test_what_is_archived_can_be_read_back(
        self,
        retention: RetentionRepository,
        owner_connection: DriverConnection,
        archived: list[ArchivedSession],
    ) -> None:
        # given
        await add_finished(owner_connection, OLD)

        async def archive(sessions: Sequence[ArchivedSession]) -> None:
            archived.extend(sessions)

        await retention.purge(MONTH, archive=archive)
        # then
        encoded = msgspec.json.encode(archived)
        assert msgspec.json.decode(encoded, type=list[ArchivedSession]) == archived

    @pytest.mark.parametrize(
        ("table", "kind", "renamed"),
        [
            ("sessions", ArchivedSession, {"id": "session_id"}),
            ("kernels", ArchivedKernel, {"id": "kernel_id"}),
            ("session_history", ArchivedChange, {}),
            ("session_vfolder_mounts", ArchivedMount, {}),
        ],
    )
    def test_no_column_is_forgotten(
        self, table: str, kind: type[msgspec.Struct], renamed: dict[str, str]
    ) -> None:
        columns = {column.name for column in Base.metadata.tables[table].columns} - LEFT_OUT[table]
        assert {renamed.get(name, name) for name in columns} <= set(kind.__struct_fields__)
