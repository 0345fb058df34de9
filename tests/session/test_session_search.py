"""Searches: every session once, in order, whatever the page; and what cannot be searched for is refused."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Final, Optional, cast
from uuid import UUID, uuid4

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.agent import AgentFilter
from scheduler_repo.entities.owner import KeypairSpec, OwnersSpec, ProjectSpec, UserSpec
from scheduler_repo.entities.paging import Cursor
from scheduler_repo.entities.session import SessionCreationSpec, SessionFilter, SessionInfo, SessionOrder
from scheduler_repo.errors import DatabaseUnavailable, InvalidCursor, InvalidFilter, InvalidLimit
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.types import (
    AccessKey,
    DomainName,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SessionStatus,
    SessionType,
    UserId,
)
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import CLOSED_GROUP, GROUP, OTHER_GROUP, cluster, session

DOMAINS: Final = (DomainName("lab"), DomainName("shop"))
USERS: Final = tuple(UserId(UUID(int=number)) for number in (1, 11, 12))
PROJECTS: Final = tuple(ProjectId(UUID(int=number)) for number in (2, 21, 22))
KEYS: Final = tuple(AccessKey(name) for name in ("key", "other", "third", "last"))
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
# user of each key, domain of each project
KEY_OWNERS: Final = dict(zip(KEYS, (USERS[0], USERS[0], USERS[1], USERS[2]), strict=True))
PROJECT_HOMES: Final = dict(zip(PROJECTS, (DOMAINS[0], DOMAINS[0], DOMAINS[1]), strict=True))
COUNT: Final = 300

OWNERS: Final = OwnersSpec(
    domains=DOMAINS,
    users=tuple(UserSpec(user_id=user, name=str(user), domain_name=DOMAINS[0]) for user in USERS),
    projects=tuple(
        ProjectSpec(project_id=project, name=str(project), domain_name=home)
        for project, home in PROJECT_HOMES.items()
    ),
    keypairs=tuple(KeypairSpec(access_key=key, user_id=user) for key, user in KEY_OWNERS.items()),
)


def random_session(random: Random) -> SessionCreationSpec:
    """A session of any owner; creation times repeat."""
    key, project = random.choice(KEYS), random.choice(PROJECTS)
    return msgspec.structs.replace(
        session(random.getrandbits(60), 1),
        session_id=SessionId(UUID(int=random.getrandbits(128))),
        name=random.choice(["train", "serve"]),
        scaling_group=random.choice([GROUP, OTHER_GROUP]),
        access_key=key,
        user_id=KEY_OWNERS[key],
        project_id=project,
        domain_name=PROJECT_HOMES[project],
        session_type=random.choice(list(SessionType)),
        created_at=START + timedelta(microseconds=random.randrange(COUNT // 3)),
    )


def random_filter(random: Random) -> SessionFilter:
    """A filter on up to four fields, of values that there are and that there are not."""
    fields: dict[str, Callable[[], object]] = {
        "scaling_group": lambda: random.choice([GROUP, OTHER_GROUP, CLOSED_GROUP]),
        "access_key": lambda: random.choice([*KEYS, AccessKey("none")]),
        "user_id": lambda: random.choice([*USERS, UserId(UUID(int=404))]),
        "project_id": lambda: random.choice([*PROJECTS, ProjectId(UUID(int=404))]),
        "domain_name": lambda: random.choice([*DOMAINS, DomainName("none")]),
        "statuses": lambda: tuple(random.choices(list(SessionStatus), k=random.randrange(1, 4))),
        "session_type": lambda: random.choice(list(SessionType)),
        "name": lambda: random.choice(["train", "serve", "tra"]),
        "created_from": lambda: START + timedelta(microseconds=random.randrange(COUNT // 3)),
        "created_until": lambda: START + timedelta(microseconds=random.randrange(COUNT // 3)),
    }
    chosen = random.sample(list(fields), random.randrange(5))
    return SessionFilter.of({field: fields[field]() for field in chosen})


async def expected(connection: DriverConnection, wanted: SessionFilter, order: SessionOrder) -> list[SessionId]:
    """What a search must answer, by looking at every session."""
    found = []
    for row in await connection.fetch("SELECT * FROM sessions"):
        given = {
            field: value
            for field, value in msgspec.structs.asdict(wanted).items()
            if value is not None and field not in ("statuses", "created_from", "created_until")
        }
        if (
            all(row[field] == value for field, value in given.items())
            and (wanted.statuses is None or row["status"] in wanted.statuses)
            and (wanted.created_from is None or row["created_at"] >= wanted.created_from)
            and (wanted.created_until is None or row["created_at"] < wanted.created_until)
        ):
            found.append((row["created_at"], row["id"]))
    return [each for _, each in sorted(found, reverse=order is SessionOrder.NEWEST_FIRST)]


class TestSessionFilter:
    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"state": "RUNNING"}, "unknown field `state`.*its fields are scaling_group, access_key"),
            ({7: "RUNNING"}, "Expected `str`.*its fields are"),
            ({"\ud800": 1}, "surrogates not allowed.*its fields are"),
            ({"statuses": ["\ud800"]}, "surrogates not allowed"),
            ({"user_id": "\ud800"}, "surrogates not allowed"),
            ({"session_type": "x" * 100_000}, "its fields are"),
            ({"statuses": ["RUNING"]}, r"'RUNING'.*statuses \(PENDING, "),
            ({"statuses": "RUNNING"}, "got `str` - at `\\$.statuses`"),
            ({"statuses": []}, "statuses is empty"),
            ({"session_type": "batch"}, r"'batch'.*session_type \(INTERACTIVE, "),
            ({"user_id": "ada"}, "Invalid UUID - at `\\$.user_id`"),
            ({"project_id": 7}, "at `\\$.project_id`"),
            ({"scaling_group": 7}, "got `int` - at `\\$.scaling_group`"),
            ({"name": "a\0"}, "name 'a.x00' is no text"),
            ({"access_key": "\ud800"}, "access_key"),
            ({"created_from": "yesterday"}, "at `\\$.created_from`"),
            ({"created_until": "2026-01-01T00:00:00"}, "with a time zone"),
            ({"created_from": datetime.min.replace(tzinfo=timezone(timedelta(hours=9)))}, "exists in UTC"),
            ("name=train", "it must be a Mapping"),
        ],
    )
    def test_a_filter_that_cannot_be_read(self, fields: Mapping[str, object], words: str) -> None:
        with pytest.raises(InvalidFilter, match=words):
            SessionFilter.of(fields)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("statuses", ("RUNNING",)),
            ("statuses", [SessionStatus.RUNNING]),
            ("statuses", SessionStatus.RUNNING),
            ("session_type", "BATCH"),
            ("user_id", "00000000-0000-0000-0000-000000000001"),
            ("scaling_group", 7),
            ("created_from", "2026-01-01T00:00:00Z"),
        ],
    )
    def test_a_filter_of_another_type(self, field: str, value: object) -> None:
        with pytest.raises(InvalidFilter, match=field):
            SessionFilter(**{field: value})  # type: ignore[arg-type] # it is what is tested

    def test_a_filter_in_words_is_the_typed_one(self) -> None:
        assert SessionFilter.of(
            {
                "statuses": ["RUNNING", "PENDING"],
                "user_id": str(USERS[0]),
                "created_from": "2026-01-01T00:00:00Z",
            }
        ) == SessionFilter(
            statuses=(SessionStatus.RUNNING, SessionStatus.PENDING), user_id=USERS[0], created_from=START
        )


class TestSessionSearch:
    @pytest.fixture
    def repository(self, engine: ExtendedAsyncSAEngine) -> SessionRepository:
        return SessionRepository(SessionDBSource(engine))

    @pytest.fixture
    def random(self) -> Random:
        return Random(7)  # noqa: S311 - the same each time

    @pytest.fixture(autouse=True)
    async def sessions(
        self, load: Load, owner_connection: DriverConnection, random: Random
    ) -> list[SessionCreationSpec]:
        """Sessions of several owners, in every status."""
        sessions = [random_session(random) for _ in range(COUNT)]
        await load(msgspec.structs.replace(cluster([], sessions), owners=OWNERS))
        await owner_connection.execute(
            "UPDATE sessions SET status = ($1::text[])[1 + abs(hashtext(id::text)) % 8]",
            [status.value for status in SessionStatus],
        )
        return sessions

    async def pages(
        self,
        repository: SessionRepository,
        wanted: SessionFilter,
        order: SessionOrder,
        limits: Callable[[], int],
    ) -> list[SessionInfo]:
        """All answers of a search, page by page."""
        items: list[SessionInfo] = []
        cursor: Optional[Cursor] = None
        while True:
            limit = limits()
            page = await repository.search_sessions(wanted, order, limit, cursor)
            assert len(page.items) == limit or page.next_cursor is None
            items.extend(page.items)
            assert len(items) <= COUNT, "it goes in circles"
            cursor = page.next_cursor
            if cursor is None:
                return items

    async def test_every_session_once_in_order(
        self, repository: SessionRepository, owner_connection: DriverConnection, random: Random
    ) -> None:
        # given
        filters = [SessionFilter(), *(random_filter(random) for _ in range(60))]
        for wanted in filters:
            for order in SessionOrder:
                # when
                items = await self.pages(repository, wanted, order, lambda: random.randrange(1, 80))
                # then
                found = await expected(owner_connection, wanted, order)
                assert [info.session_id for info in items] == found, wanted

    async def test_a_page_that_is_just_full_is_the_last(self, repository: SessionRepository) -> None:
        page = await repository.search_sessions(SessionFilter(), limit=COUNT)
        assert len(page.items) == COUNT
        assert page.next_cursor is None

    async def come_and_go(
        self, repository: SessionRepository, connection: DriverConnection, random: Random
    ) -> None:
        """Five sessions are created, and five are gone."""
        await repository.create_sessions([random_session(random) for _ in range(5)])
        await connection.execute(
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions ORDER BY random() LIMIT 5)"
        )

    async def test_none_is_lost_or_repeated_while_others_come_and_go(
        self, repository: SessionRepository, owner_connection: DriverConnection, random: Random
    ) -> None:
        for order in SessionOrder:
            # given: those that are there from the first page to the last
            before = set(await expected(owner_connection, SessionFilter(), order))
            seen: list[tuple[datetime, SessionId]] = []
            cursor: Optional[Cursor] = None
            while True:
                # when
                searching = repository.search_sessions(SessionFilter(), order, 7, cursor)
                page, _ = await asyncio.gather(
                    searching, self.come_and_go(repository, owner_connection, random)
                )
                seen.extend((info.created_at, info.session_id) for info in page.items)
                assert len(seen) <= 3 * COUNT, "it goes in circles"
                cursor = page.next_cursor
                if cursor is None:
                    break
            # then
            after = set(await expected(owner_connection, SessionFilter(), order))
            assert len(before - after) > 10
            assert len(after - before) > 10
            assert len(seen) == len(set(seen))
            assert seen == sorted(seen, reverse=order is SessionOrder.NEWEST_FIRST)
            assert before & after <= {each for _, each in seen}

    @pytest.mark.usefixtures("no_retry_waits")
    async def test_what_is_no_filter_order_or_limit_is_refused_before_any_query(
        self, unreachable: ExtendedAsyncSAEngine
    ) -> None:
        # given
        repository = SessionRepository(SessionDBSource(unreachable))
        # then
        for given in (7, {"name": "train"}, "name", SessionFilter, AgentFilter()):
            with pytest.raises(InvalidFilter, match="make one with SessionFilter"):
                await repository.search_sessions(cast(SessionFilter, given))
        for order in (None, "NEWEST_FIRST", "name"):
            with pytest.raises(InvalidFilter, match="it must be a SessionOrder"):
                await repository.search_sessions(SessionFilter(), cast(SessionOrder, order))
        for limit in (0, -1, 1_001, True, 1.0, "1"):
            with pytest.raises(InvalidLimit):
                await repository.search_sessions(SessionFilter(), limit=cast(int, limit))
        with pytest.raises(InvalidCursor):
            await repository.search_sessions(SessionFilter(), cursor=Cursor("x"))
        with pytest.raises(DatabaseUnavailable):
            await repository.search_sessions(SessionFilter())

    async def test_a_name_of_a_type_of_its_own(self, repository: SessionRepository) -> None:
        # given: such as a name that comes from numpy
        class Name(str):
            __slots__ = ()

        name = ScalingGroupName(Name(GROUP))
        # when
        page = await repository.search_sessions(SessionFilter(scaling_group=name), limit=3)
        # then
        same = SessionFilter(scaling_group=GROUP)
        assert page == await repository.search_sessions(same, limit=3)
        assert page.next_cursor is not None
        assert (await repository.search_sessions(same, limit=3, cursor=page.next_cursor)).items

    async def test_without_a_filter_all_are_found(self, repository: SessionRepository) -> None:
        assert await repository.search_sessions() == await repository.search_sessions(SessionFilter())

    async def test_a_cursor_of_another_search_or_changed(self, repository: SessionRepository) -> None:
        # given
        asked = SessionFilter(statuses=(SessionStatus.RUNNING, SessionStatus.PENDING))
        cursor = (await repository.search_sessions(asked, limit=3)).next_cursor
        assert cursor is not None
        others: Sequence[tuple[SessionFilter, SessionOrder]] = (
            (SessionFilter(), SessionOrder.NEWEST_FIRST),
            (SessionFilter(scaling_group=ScalingGroupName("gpu")), SessionOrder.NEWEST_FIRST),
            (asked, SessionOrder.OLDEST_FIRST),
        )
        changed = [cursor[:-1], cursor[1:], cursor[:20] + ("A" if cursor[20] != "A" else "B") + cursor[21:]]
        # then
        for wanted, order in others:
            with pytest.raises(InvalidCursor, match="not of this search"):
                await repository.search_sessions(wanted, order, cursor=cursor)
        for odd in (*changed, "", "\0", cursor * 50, str(uuid4()), 7, b"x"):
            with pytest.raises(InvalidCursor, match="not of this search"):
                await repository.search_sessions(asked, cursor=cast(Cursor, odd))

    async def test_a_cursor_goes_on_with_the_same_statuses_in_another_order(
        self, repository: SessionRepository
    ) -> None:
        # given
        running, pending = SessionStatus.RUNNING, SessionStatus.PENDING
        first = await repository.search_sessions(SessionFilter(statuses=(running, pending)), limit=3)
        # when
        same = SessionFilter(statuses=(pending, running, pending))
        second = await repository.search_sessions(same, limit=3, cursor=first.next_cursor)
        # then
        assert first.items[-1].created_at >= second.items[0].created_at
