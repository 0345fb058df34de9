"""``scheduler-repo explain``."""

import asyncio
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Optional
from uuid import UUID

import asyncpg
import msgspec
import pytest

from scheduler_repo.database.engine import create_engine
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.session import SessionState
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource, TimedSchedulingData
from scheduler_repo.repositories.session.db_source import SESSION_STATE
from scheduler_repo.scheduling.explain.reasons import WaitingReason
from scheduler_repo.scheduling.explain.session import SessionExplanation
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import (
    AgentId,
    ClusterMode,
    OwnerScope,
    ScalingGroupName,
    SessionId,
    SessionResult,
    SessionStatus,
)
from scheduler_repo.workload.slot_types import CPU_TYPE, GIBIBYTE, MEM_TYPE
from tests.support.command import Command, CommandHere, Ended
from tests.support.databases import ADMIN, READER, SCHEDULER, Database
from tests.support.small_cluster import CLOSED_GROUP, CPU, USER, agent, cluster, session, session_id

SOME_ID = "6f1ed002-ab59-4c3c-8d2b-0a7c3b7a4a11"
LONG_NAME = AgentId(f"rack-{'7' * 90}.cluster.example")
LATER = datetime(2100, 1, 1, tzinfo=UTC)


class Answer(msgspec.Struct, frozen=True):
    """What --json prints."""

    session: SessionState
    text: str
    explanation: Optional[SessionExplanation]


def in_cores(spec: ClusterSpec) -> ClusterSpec:
    """The cluster with slot types as people know them: milli-cores and bytes."""
    return msgspec.structs.replace(spec, slot_types=(CPU_TYPE, MEM_TYPE))


class Explained:
    """A database with a cluster in it, and the command on it."""

    def __init__(self, command_here: CommandHere, database: Database) -> None:
        self._command = command_here
        self.database = database

    def load(self, spec: ClusterSpec) -> None:
        asyncio.run(self._load(in_cores(spec)))

    def write(self, script: str) -> None:
        """Run statements as the administrator."""
        asyncio.run(self.database.run_as(ADMIN, script))

    def arguments(self, number: int, *options: str) -> tuple[str, ...]:
        return ("explain", str(session_id(number)), "--database-url", self.database.url_as(SCHEDULER), *options)

    def run(self, number: int, *options: str) -> Ended:
        return self._command.run(*self.arguments(number, *options))

    def page(self, number: int) -> str:
        """The page for people, in a pipe."""
        ended = self.run(number)
        assert (ended.code, ended.errors) == (0, "")
        return ended.output

    def answer(self, number: int) -> Answer:
        ended = self.run(number, "--json")
        assert (ended.code, ended.errors) == (0, "")
        (line,) = ended.output.splitlines()
        return msgspec.json.decode(line, type=Answer)

    def explanation(self, number: int) -> SessionExplanation:
        explanation = self.answer(number).explanation
        assert explanation is not None
        return explanation

    async def _load(self, spec: ClusterSpec) -> None:
        engine = create_engine(DatabaseSettings(url=SecretUrl(self.database.url_as(SCHEDULER))))
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(spec)
        await engine.dispose()


@pytest.fixture
def explained(command_here: CommandHere, migrated_database: Database) -> Explained:
    return Explained(command_here, migrated_database)


class TestBlocked:
    def test_by_a_quota(self, explained: Explained) -> None:
        # Given
        quota = QuotaSpec(
            scope=OwnerScope.USER, owner_id=str(USER), slot_limits={CPU: 1_500}, max_concurrent_sessions=1
        )
        explained.load(cluster([agent("a", cpu=64_000)], [session(1, 2_000)], [quota]))

        # When
        page, answer = explained.page(1), explained.answer(1)

        # Then
        assert answer.explanation is not None
        assert answer.explanation.waiting.reason is WaitingReason.SLOT_QUOTA
        assert answer.text == (
            f"user {USER} occupies 0 cores of cpu; 2 cores more would pass its limit of 1.5 cores"
        )
        assert f"why it waits  SLOT_QUOTA: {answer.text}\n" in page
        assert re.search(r"^  cpu +0 cores +2 cores +1\.5 cores +0\.5 cores above$", page, re.MULTILINE)
        assert re.search(r"^  sessions +0 +1 +1 +passes$", page, re.MULTILINE)
        assert "domain lab: no limits\n" in page

    def test_by_a_dependency(self, explained: Explained) -> None:
        gone = SessionId(UUID(int=7))
        explained.load(cluster([agent("a")], [session(1, 1), session(2, 1, depends_on=(session_id(1), gone))]))
        assert explained.explanation(2).waiting.reason is WaitingReason.DEPENDENCY_CANNOT_BE_MET
        page = explained.page(2)
        assert re.search(rf"^  {gone} +no longer exists +can never be met$", page, re.MULTILINE)
        assert re.search(rf"^  {session_id(1)} +PENDING +not yet met$", page, re.MULTILINE)

    def test_by_capacity(self, explained: Explained) -> None:
        # Given
        agents = [agent("a", cpu=4_000, mem=8 * GIBIBYTE), agent("b", cpu=2_000, mem=GIBIBYTE // 10)]
        explained.load(cluster(agents, [session(1, 5_000, cluster_mode=ClusterMode.SINGLE_NODE)]))

        # When
        explanation, page = explained.explanation(1), explained.page(1)

        # Then
        assert explanation.waiting.reason is WaitingReason.LARGER_THAN_ANY_AGENT
        (node,) = explanation.nodes
        cpu, mem, _ = node.resources
        assert (cpu.requested, cpu.most_free, cpu.best_agent_id, cpu.missing) == (5_000, 4_000, "a", 1_000)
        assert (mem.fitting_agents, mem.most_free, mem.missing) == (2, 8 * GIBIBYTE, 0)
        assert "kernel 0 on an agent: of 2 agents, 2 candidates; all of it fits on 0\n" in page
        assert re.search(r"^  cpu +5 cores +0 +4 cores +1 cores +a$", page, re.MULTILINE)
        assert re.search(r"^  mem +1 B +2 +8\.0 GiB +- +a$", page, re.MULTILINE)

    def test_by_its_start_time(self, explained: Explained) -> None:
        explained.load(cluster([agent("a")], [session(1, 1, requested_start_at=LATER)]))
        explanation = explained.explanation(1)
        assert explanation.waiting.reason is WaitingReason.START_NOT_REACHED
        assert not explanation.place.is_start_reached
        assert "not before    2100-01-01 00:00:00.000+00:00: not reached\n" in explained.page(1)

    def test_by_its_group(self, explained: Explained) -> None:
        explained.load(cluster([], [session(1, 1, scaling_group=CLOSED_GROUP)]))
        assert explained.explanation(1).waiting.reason is WaitingReason.GROUP_INACTIVE
        assert "GROUP_INACTIVE: the scaling group closed is inactive\n" in explained.page(1)

    def test_by_its_designated_agents(self, explained: Explained) -> None:
        explained.load(cluster([agent("a")], [session(1, 1, designated=(AgentId("b"), AgentId("c")))]))
        assert explained.explanation(1).waiting.reason is WaitingReason.DESIGNATED_AGENTS_UNAVAILABLE
        page = explained.page(1)
        assert "none of the designated agents takes kernels: b, c\n" in page
        assert "designated agent  b: takes no kernels in this group\n" in page
        assert "of 1 agent, 0 candidates; all of it fits on 0\n" in page

    def test_by_the_sessions_ahead(self, explained: Explained) -> None:
        # Given room for two of three
        explained.load(cluster([agent("a", cpu=5)], [session(1, 3), session(2, 9), session(3, 3)]))

        # When
        explanation, page = explained.explanation(3), explained.page(3)

        # Then
        assert explanation.waiting.reason is WaitingReason.PLACEABLE
        assert explanation.turn is not None
        assert explanation.turn.lacks is not None
        assert explanation.turn.lacks.reason is WaitingReason.NOT_ENOUGH_FREE
        assert (explanation.place.rank, explanation.turn.placed_before) == (3, 1)
        assert "in the queue  3 of 3, 2 sessions ahead; priority 10\n" in page
        assert "fits now if it were first, but a plan places 1 session before it, which leaves too" in page

    def test_by_nothing(self, explained: Explained) -> None:
        explained.load(cluster([agent("a")], [session(1, 1)]))
        assert "its turn      a plan of this queue places it on a\n" in explained.page(1)


class TestNotPending:
    @pytest.fixture
    def running(self, explained: Explained) -> Explained:
        """A session of two kernels on two agents."""
        explained.load(cluster([agent("b"), agent("a")], [session(1, 1, 1), session(2, 1)]))
        explained.write(
            "UPDATE kernels SET status = 'RUNNING', occupied_slots = requested_slots,"
            " agent_id = CASE kernel_index WHEN 0 THEN 'b' ELSE 'a' END"
            f" WHERE session_id = '{session_id(1)}';"
            " UPDATE sessions SET status = 'RUNNING', status_changed_at = now() - interval '1 hour'"
            f" WHERE id = '{session_id(1)}'"
        )
        return explained

    def test_is_said_with_its_agents(self, running: Explained) -> None:
        page, answer = running.page(1), running.answer(1)
        assert answer.explanation is None
        assert (answer.session.status, answer.session.agent_ids) == (SessionStatus.RUNNING, ("a", "b"))
        assert answer.text.startswith("RUNNING since ")
        assert re.search(r"^status       RUNNING since \S+ \S+, 1:00:0\d ago$", page, re.MULTILINE)
        assert page.endswith("agent        a\nagent        b\n\n")

    def test_costs_no_read_of_its_group(self, running: Explained, monkeypatch: pytest.MonkeyPatch) -> None:
        self._before_the_second_read(monkeypatch, running.database, "SELECT 1 / 0")
        assert running.run(1).code == 0
        with pytest.raises(asyncpg.DivisionByZeroError):
            running.run(2)

    def test_is_said_with_its_result(self, running: Explained) -> None:
        running.write(
            f"UPDATE kernels SET status = 'TERMINATED' WHERE session_id = '{session_id(1)}';"
            " UPDATE sessions SET status = 'TERMINATED', result = 'FAILURE'"
            f" WHERE id = '{session_id(1)}'"
        )
        assert running.answer(1).session.result is SessionResult.FAILURE
        assert "TERMINATED with FAILURE since " in running.page(1)

    @pytest.mark.parametrize(
        ("script", "code", "expected"),
        [
            (f"UPDATE sessions SET status = 'CANCELLED' WHERE id = '{session_id(2)}'", 0, "CANCELLED since "),
            (f"DELETE FROM sessions WHERE id = '{session_id(2)}'", 1, f"there is no session {session_id(2)};"),
        ],
    )
    def test_it_leaves_the_queue_between_the_two_reads(
        self, running: Explained, monkeypatch: pytest.MonkeyPatch, script: str, code: int, expected: str
    ) -> None:
        # Given
        self._before_the_second_read(monkeypatch, running.database, script)

        # When
        ended = running.run(2)

        # Then
        assert ended.code == code
        assert expected in (ended.error_line if code else ended.output)

    def test_it_leaves_the_queue_and_comes_back(
        self, running: Explained, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a session that waits in another group when its own is read
        script = f"UPDATE sessions SET scaling_group = 'other' WHERE id = '{session_id(2)}'"
        self._before_the_second_read(monkeypatch, running.database, script)

        # When
        ended = running.run(2)

        # Then
        assert ended.code == 0
        assert "it left the queue and came back during the look-up; ask again\n" in ended.output

    def _before_the_second_read(self, monkeypatch: pytest.MonkeyPatch, database: Database, script: str) -> None:
        read = SchedulerDBSource.get_scheduling_data

        async def read_later(
            source: SchedulerDBSource, group: ScalingGroupName, pending_limit: Optional[int] = None
        ) -> TimedSchedulingData:
            await database.run_as(ADMIN, script)
            return await read(source, group, pending_limit)

        monkeypatch.setattr(SchedulerDBSource, "get_scheduling_data", read_later)


class TestRefusals:
    @pytest.mark.parametrize(
        "given",
        [
            "abc",
            "",
            "6f1ed002",
            f"{{{SOME_ID}}}",
            f"urn:uuid:{SOME_ID}",
            SOME_ID.replace("6", "\N{FULLWIDTH DIGIT SIX}"),
            f"{SOME_ID}\n",
        ],
    )
    def test_an_id_that_is_none(self, command_here: CommandHere, given: str) -> None:
        # a database that nothing may be asked of
        ended = command_here.run("explain", given, "--database-url", "postgresql://127.0.0.1:1/none")
        assert (ended.code, ended.output) == (2, "")
        assert f"'SESSION': {given!r} is no session id; give a UUID, such as " in ended.error_line

    def test_a_long_one_is_cut(self, command_here: CommandHere) -> None:
        ended = command_here.run("explain", "x" * 500, "--database-url", "postgresql://127.0.0.1:1/none")
        assert ended.code == 2
        assert f"'{'x' * 60}…' is no session id" in ended.error_line

    def test_a_url_is_not_repeated(self, command_here: CommandHere) -> None:
        ended = command_here.run("explain", "postgresql://ada:hunter2@h/d")
        assert ended.code == 2
        assert "this is a URL; give the id of a session" in ended.error_line
        assert "hunter2" not in ended.error_line

    def test_no_database(self, command_here: CommandHere) -> None:
        ended = command_here.run("explain", SOME_ID)
        assert ended.code == 2
        assert "give --database-url or set SCHEDULER_REPO_DATABASE_URL" in ended.error_line

    @pytest.mark.parametrize("options", [(), ("--json",)])
    def test_an_unknown_session(self, explained: Explained, options: tuple[str, ...]) -> None:
        ended = explained.run(1, *options)
        assert (ended.code, ended.output) == (1, "")
        assert ended.error_line.startswith(f"error: there is no session {session_id(1)}; correct the id")


class TestOutput:
    @pytest.fixture
    def wide(self, explained: Explained) -> Explained:
        """A session about which there is much to say."""
        quotas = [
            QuotaSpec(scope=OwnerScope.USER, owner_id=str(USER), slot_limits={CPU: 10**18 + 1}),
            QuotaSpec(scope=OwnerScope.DOMAIN, owner_id="lab", slot_limits={CPU: 1}, max_concurrent_sessions=9),
        ]
        late = session(
            2, 10**17 + 1, 7, designated=(LONG_NAME,), depends_on=(session_id(1),), requested_start_at=LATER
        )
        explained.load(cluster([agent(LONG_NAME, cpu=10**17)], [session(1, 1), late], quotas))
        return explained

    def test_a_terminal_gets_80_columns_with_nothing_cut(self, command: Command, wide: Explained) -> None:
        shown = command.run_on_terminal(*wide.arguments(2))
        assert shown.code == 0
        page = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown.output)
        assert max(len(line) for line in page.splitlines()) <= 80
        shown_tables, whole_tables = (
            Counter(re.sub(r"\s", "", text.partition("kernel 0")[2].partition("in the queue")[0]))
            for text in (page, wide.page(2))
        )
        assert shown_tables == whole_tables
        assert f"\nuser {USER}\n" in page
        assert re.search(rf"^  {session_id(1)} +PENDING +not yet met *$", page, re.MULTILINE)

    def test_a_pipe_gets_its_lines_whole(self, wide: Explained) -> None:
        page = wide.page(2)
        assert "\x1b" not in page
        assert f"designated agent  {LONG_NAME}: takes kernels\n" in page
        assert re.search(rf"0\.001 cores  {LONG_NAME}$", page, re.MULTILINE)
        assert all(line == line.rstrip() for line in page.splitlines())

    def test_json_is_exact(self, wide: Explained) -> None:
        answer = wide.answer(2)
        assert answer.explanation is not None
        assert answer.explanation.nodes[0].resources[0].requested == 10**17 + 1
        assert answer.explanation.nodes[0].resources[0].missing == 1
        assert [slot_type.name for slot_type in answer.explanation.slot_types] == ["cpu", "mem"]
        assert answer.session.scaling_group == answer.explanation.scaling_group == "gpu"

    def test_one_who_only_reads_may_ask(self, command_here: CommandHere, wide: Explained) -> None:
        url = wide.database.url_as(READER)
        assert command_here.run("explain", str(session_id(2)).upper(), "--database-url", url).code == 0


class TestStatement:
    async def test_columns_stand_in_the_order_of_the_fields(self, migrated_database: Database) -> None:
        async with migrated_database.driver_as(READER) as driver:
            prepared = await driver.prepare(SESSION_STATE.text)
            columns = tuple(attribute.name for attribute in prepared.get_attributes())
        assert columns == SessionState.__struct_fields__

    async def test_it_relies_on_the_indexes_that_it_names(self, migrated_database: Database) -> None:
        async with migrated_database.driver_as(READER) as driver:
            # tables as small as these would be read from end to end
            await driver.execute("SET enable_seqscan = off")
            await driver.execute(f"PREPARE planned AS {SESSION_STATE.text}")
            plan = await driver.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE planned ('{SOME_ID}')")
        assert set(re.findall(r'"Index Name": "(\w+)"', plan)) == {
            "sessions_pkey",
            "kernels_session_id_kernel_index_key",
        }
