"""What is malformed is refused before any query: here there is no server that could be asked."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, cast
from uuid import UUID

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.vfolder import VFolderSpec
from scheduler_repo.errors import DatabaseUnavailable, SchedulerRepoError
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.history.db_source import HistoryDBSource
from scheduler_repo.repositories.history.repository import HistoryRepository
from scheduler_repo.repositories.kernel.db_source import KernelDBSource
from scheduler_repo.repositories.kernel.repository import KernelRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.repositories.vfolder.db_source import VFolderDBSource
from scheduler_repo.repositories.vfolder.repository import VFolderRepository
from scheduler_repo.types import SessionStatus
from tests.session.odd_sessions import Odd, with_, with_kernel
from tests.support.refusals import refused
from tests.support.small_cluster import GROUP, USER, agent, cluster, session, session_id


def nested(depth: int) -> tuple[object, ...]:
    """Tuples within tuples, deeper than Python writes them."""
    found: tuple[object, ...] = ()
    for _ in range(depth):
        found = (found,)
    return found


# Arguments of any kind, as a caller without a type checker may give them.
ODD: Final[Mapping[str, Any]] = {
    "none": None,
    "number": 7,
    "flag": True,
    "not a number": float("nan"),
    "bytes": b"a",
    "nul": "a\0",
    "surrogate": "\ud800",
    "long": "x\0" * 100_000,
    "large": 10**5_000,
    "deep": nested(3_000),
    "list": [UUID(int=1)],
    "generator": iter(()),
    "object": object(),
}
NO_LISTS: Final[Mapping[str, Any]] = {
    "none": None,
    "number": 7,
    "text": "",
    "mapping": {},
    "set": set(),
    "generator": iter(()),
    "one for several": session(1, 1),
    "deep": nested(3_000),
}
FIELDS: Final[Mapping[str, Callable[[Any], Odd]]] = {
    **{
        field: lambda value, field=field: with_(**{field: value})  # type: ignore[misc] # bound now
        for field in (
            "session_id",
            "name",
            "scaling_group",
            "access_key",
            "user_id",
            "project_id",
            "domain_name",
        )
    },
    "kernel_id": lambda value: with_kernel(kernel_id=value),
    "image": lambda value: with_kernel(image=value),
}
LEASE: Final[Mapping[str, Any]] = {
    "scaling_group": GROUP,
    "holder": "me",
    "epoch": 1,
    "acquired_at": datetime.now(UTC),
    "expires_at": datetime.now(UTC),
}


class TestMalformed:
    @pytest.fixture
    def sessions(self, unreachable: ExtendedAsyncSAEngine) -> SessionRepository:
        return SessionRepository(SessionDBSource(unreachable))

    @pytest.fixture
    def clusters(self, unreachable: ExtendedAsyncSAEngine) -> ClusterRepository:
        return ClusterRepository(ClusterDBSource(unreachable))

    @pytest.fixture
    def kernels(self, unreachable: ExtendedAsyncSAEngine) -> KernelRepository:
        return KernelRepository(KernelDBSource(unreachable))

    @pytest.fixture
    def history(self, unreachable: ExtendedAsyncSAEngine) -> HistoryRepository:
        return HistoryRepository(HistoryDBSource(unreachable))

    @pytest.fixture
    def vfolders(self, unreachable: ExtendedAsyncSAEngine) -> VFolderRepository:
        return VFolderRepository(VFolderDBSource(unreachable))

    @pytest.mark.parametrize("kind", ODD)
    async def test_ids(
        self,
        kind: str,
        sessions: SessionRepository,
        kernels: KernelRepository,
        history: HistoryRepository,
        vfolders: VFolderRepository,
    ) -> None:
        calls: tuple[Callable[[Any], Awaitable[object]], ...] = (
            *(sessions.get_session_by_id, sessions.find_session, sessions.get_session_info),
            *(
                sessions.get_session_state,
                sessions.get_session_with_dependencies,
                sessions.list_sessions_by_access_key,
            ),
            *(sessions.count_active_sessions_by_scaling_group, sessions.create_session),
            *(kernels.get_kernel_by_id, kernels.find_kernel, kernels.list_kernels_by_session),
            *(kernels.search_kernels_by_agent, history.list_session_history, history.list_agent_history),
            *(vfolders.get_vfolder_by_id, vfolders.find_vfolder, vfolders.list_mounts_by_session),
            *(vfolders.search_vfolders_by_user, vfolders.search_vfolders_by_project),
            partial(sessions.update_status, status=SessionStatus.CANCELLED),
        )
        for call in calls:
            await refused(call, [ODD[kind]])

    @pytest.mark.parametrize("kind", [kind for kind in ODD if kind != "none"])
    async def test_what_goes_with_an_id(self, kind: str, sessions: SessionRepository) -> None:
        value = ODD[kind]
        update = partial(sessions.update_status, session_id(1))
        cancel = partial(update, SessionStatus.CANCELLED)
        await refused(update, [value])
        await refused(lambda odd: cancel(lease=odd), [value])
        await refused(lambda odd: cancel(operation_id=odd), [value])
        await refused(sessions.search_sessions, [value])
        await refused(lambda odd: sessions.search_sessions(order=odd), [value])
        await refused(lambda odd: sessions.search_sessions(cursor=odd), [value])
        if kind != "number":
            await refused(lambda odd: sessions.search_sessions(limit=odd), [value])
            await refused(lambda odd: cancel(lease=odd), [Lease(**{**LEASE, "epoch": value})])
        for field in ("scaling_group", "holder"):
            await refused(lambda odd: cancel(lease=odd), [Lease(**{**LEASE, field: value})])

    @pytest.mark.parametrize("kind", NO_LISTS)
    async def test_batches(self, kind: str, sessions: SessionRepository, vfolders: VFolderRepository) -> None:
        for call in (sessions.create_sessions, sessions.enqueue_sessions, vfolders.create_vfolders):
            await refused(cast(Any, call), [NO_LISTS[kind]])

    @pytest.mark.parametrize("field", FIELDS)
    async def test_a_session_to_create(
        self, field: str, sessions: SessionRepository, clusters: ClusterRepository
    ) -> None:
        odd = [FIELDS[field](value)(session(1, 1)) for value in ODD.values()]
        await refused(sessions.create_session, odd)
        await refused(sessions.enqueue_sessions, [[session(2, 1), each] for each in odd])
        await refused(clusters.load_cluster, [cluster([], [session(2, 1), each]) for each in odd])

    @pytest.mark.parametrize("kind", ODD)
    async def test_a_cluster_to_load(self, kind: str, clusters: ClusterRepository) -> None:
        value, good = ODD[kind], cluster([agent("a")], [])
        replace = msgspec.structs.replace
        odd: tuple[object, ...] = (
            value,
            replace(good, scaling_groups=(replace(good.scaling_groups[0], name=value),)),
            replace(good, slot_types=(replace(good.slot_types[0], name=value),)),
            replace(good, agents=(replace(good.agents[0], agent_id=value),)),
            replace(good, owners=replace(good.owners, domains=(value,))),
        )
        await refused(clusters.load_cluster, odd)

    @pytest.mark.usefixtures("no_retry_waits")
    async def test_what_is_well_formed_is_asked(
        self, sessions: SessionRepository, vfolders: VFolderRepository
    ) -> None:
        """Else the refusals above would say nothing."""
        calls: tuple[Awaitable[object], ...] = (
            sessions.create_session(session(1, 1)),
            sessions.enqueue_sessions([session(1, 1)]),
            sessions.search_sessions(),
            sessions.update_status(session_id(1), SessionStatus.CANCELLED, lease=Lease(**LEASE)),
            vfolders.create_vfolders([VFolderSpec(name="a", host="b", user_id=USER)]),
        )
        for call in calls:
            with pytest.raises(SchedulerRepoError) as error:
                await call
            assert type(error.value) is DatabaseUnavailable
