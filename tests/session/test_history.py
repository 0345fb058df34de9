"""What happened to sessions and agents, in order."""

from datetime import UTC, datetime, timedelta
from typing import Final, Optional, cast

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.history import AgentHistoryEntry
from scheduler_repo.entities.paging import Cursor
from scheduler_repo.errors import InvalidCursor, InvalidFilter, InvalidInput, InvalidLimit
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.history.db_source import HistoryDBSource
from scheduler_repo.repositories.history.repository import HistoryRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.types import AgentId, AgentStatus, SessionId, SessionStatus
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import agent, cluster, session, session_id

A: Final = AgentId("a")
START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class TestHistory:
    @pytest.fixture
    def repository(self, engine: ExtendedAsyncSAEngine) -> HistoryRepository:
        return HistoryRepository(HistoryDBSource(engine))

    @pytest.fixture(autouse=True)
    async def loaded(self, load: Load) -> None:
        await load(cluster([agent("a"), agent("b")], [session(1, 1), session(2, 1)]))

    @pytest.fixture
    async def changes(self, owner_connection: DriverConnection) -> None:
        """Instead of what there is, a hundred changes of two agents, ten at each instant."""
        await owner_connection.execute("DELETE FROM agent_history")
        await owner_connection.execute(
            "INSERT INTO agent_history (agent_id, to_status, changed_at) "
            "SELECT CASE WHEN number % 2 = 0 THEN 'a' ELSE 'b' END, 'ALIVE', "
            "       $1::timestamptz + number / 10 * interval '1 second' "
            "FROM generate_series(0, 99) AS number ORDER BY hashint4(number)",
            START,
        )

    async def test_the_life_of_a_session(
        self, repository: HistoryRepository, engine: ExtendedAsyncSAEngine
    ) -> None:
        # given
        sessions = SessionRepository(SessionDBSource(engine))
        await sessions.update_status(session_id(1), SessionStatus.CANCELLED, "not needed")
        # when
        created, cancelled = await repository.list_session_history(session_id(1))
        # then
        assert (created.from_status, created.to_status, created.reason) == (None, SessionStatus.PENDING, None)
        assert (cancelled.from_status, cancelled.to_status) == (SessionStatus.PENDING, SessionStatus.CANCELLED)
        assert (cancelled.reason, cancelled.kernel_id) == ("not needed", None)
        assert cancelled.session_id == session_id(1)
        assert created.entry_id < cancelled.entry_id
        assert created.changed_at <= cancelled.changed_at
        assert len(await repository.list_session_history(session_id(2))) == 1
        assert await repository.list_session_history(session_id(3)) == ()

    async def test_the_last_of_an_agent(
        self, repository: HistoryRepository, engine: ExtendedAsyncSAEngine
    ) -> None:
        # given
        agents = AgentRepository(AgentDBSource(engine))
        await agents.drain_agents([A], "new kernel")
        await agents.resume_agents([A])
        # when
        resumed, drained = await repository.list_agent_history(A, limit=2)
        # then
        assert (resumed.from_status, resumed.to_status) == (AgentStatus.DRAINING, AgentStatus.ALIVE)
        assert (drained.to_status, drained.reason) == (AgentStatus.DRAINING, "new kernel")
        registered = (await repository.list_agent_history(A))[-1]
        assert (registered.from_status, registered.agent_id) == (None, A)
        assert await repository.list_agent_history(AgentId("nobody")) == ()

    @pytest.mark.usefixtures("changes")
    @pytest.mark.parametrize("limit", [1, 7, 10, 100, 101])
    @pytest.mark.parametrize(
        ("changed_from", "changed_until"),
        [
            (None, None),
            (START + timedelta(seconds=3), None),
            (None, START + timedelta(seconds=4)),
            (START + timedelta(seconds=3), START + timedelta(seconds=4)),
            (START + timedelta(days=1), None),
        ],
    )
    async def test_every_change_of_a_span_once_in_order(
        self,
        repository: HistoryRepository,
        owner_connection: DriverConnection,
        limit: int,
        changed_from: Optional[datetime],
        changed_until: Optional[datetime],
    ) -> None:
        # when
        found: list[AgentHistoryEntry] = []
        cursor: Optional[Cursor] = None
        while True:
            page = await repository.search_agent_history(changed_from, changed_until, limit, cursor)
            found.extend(page.items)
            assert len(found) <= 100, "it goes in circles"
            assert len(page.items) == limit or page.next_cursor is None
            cursor = page.next_cursor
            if cursor is None:
                break
        # then
        rows = await owner_connection.fetch("SELECT id, changed_at FROM agent_history")
        wanted = sorted(
            (row["changed_at"], row["id"])
            for row in rows
            if (changed_from is None or row["changed_at"] >= changed_from)
            and (changed_until is None or row["changed_at"] < changed_until)
        )
        assert [(each.changed_at, each.entry_id) for each in found] == wanted[::-1]

    async def test_what_is_malformed_is_refused_before_any_query(
        self, unreachable: ExtendedAsyncSAEngine, repository: HistoryRepository
    ) -> None:
        # given
        cursor = (await repository.search_agent_history(limit=1)).next_cursor
        nowhere = HistoryRepository(HistoryDBSource(unreachable))
        # then
        for odd in ("x", None, 7):
            with pytest.raises(InvalidInput, match=r"session id .* must be a UUID"):
                await nowhere.list_session_history(cast(SessionId, odd))
        for odd_agent in (None, 7, "a\0"):
            with pytest.raises(InvalidInput, match="agent id"):
                await nowhere.list_agent_history(cast(AgentId, odd_agent))
        for limit in (0, 1_001, True):
            with pytest.raises(InvalidLimit):
                await nowhere.list_agent_history(A, limit)
            with pytest.raises(InvalidLimit):
                await nowhere.search_agent_history(limit=limit)
        for when in ("2026", 7, START.replace(tzinfo=None)):
            with pytest.raises(
                InvalidFilter, match=r"changed_from is .*, it must be a datetime with a time zone"
            ):
                await nowhere.search_agent_history(cast(datetime, when))
        with pytest.raises(InvalidCursor):
            await nowhere.search_agent_history(START, cursor=cursor)
