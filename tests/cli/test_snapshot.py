"""``scheduler-repo snapshot``."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.scheduling.explain.reasons import waiting_reasons
from scheduler_repo.scheduling.explain.text import describe
from scheduler_repo.snapshot_files import read_snapshot
from scheduler_repo.types import SessionId
from tests.support.command import Command, CommandHere
from tests.support.databases import SCHEDULER, Database
from tests.support.observation import PROJECT_ROOT
from tests.support.waiting import PATIENCE

UUID_PATTERN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# the time of observation, which differs between two answers
CLOCK = re.compile(r" at [^ ]+ that is")


class Waiting(msgspec.Struct, frozen=True):
    """What programs rely on."""

    session_id: SessionId
    reason: str
    text: str


class Answer(msgspec.Struct):
    """The part of the answer that SchedulingData lacks."""

    waiting: list[Waiting]


def waiting_of(answer: str) -> list[Waiting]:
    return msgspec.json.decode(answer, type=Answer).waiting


class TestSnapshot:
    @pytest.fixture
    def arguments(self, placed_database: Database) -> tuple[str, ...]:
        """Those of a snapshot of a group in which some sessions are placed and others wait."""
        return ("snapshot", "batch", "--database-url", placed_database.url_as(SCHEDULER))

    def test_a_page_for_people(self, command_here: CommandHere, arguments: tuple[str, ...]) -> None:
        ended = command_here.run(*arguments)
        assert (ended.code, ended.errors) == (0, "")
        assert "\x1b" not in ended.output
        for expected in (
            "group        batch",
            "snapshot",
            "pending",
            "priority 10",
            "oldest",
            "10 take kernels",
            "cuda.shares",
            "NOT_ENOUGH_FREE",
            "owners nearest their limits",
            "the database in",
        ):
            assert expected in ended.output

    def test_a_pipe_gets_its_lines_whole(self, command_here: CommandHere, arguments: tuple[str, ...]) -> None:
        # Given
        output = command_here.run(*arguments).output
        answer = command_here.run(*arguments, "--json").output
        data, waiting = msgspec.json.decode(answer, type=SchedulingData), waiting_of(answer)

        # Then each reason has the words of one of its sessions, and that session's name
        names = {session.session_id: session.name for session in data.pending_sessions}
        for reason in {each.reason for each in waiting}:
            first = next(each for each in waiting if each.reason == reason)
            (line,) = (line for line in output.splitlines() if line.startswith(f"{reason} "))
            expected = f"  {names[first.session_id]}: {first.text}"
            assert CLOCK.sub("", line).endswith(CLOCK.sub("", expected))

    def test_a_terminal_gets_its_ids_whole(
        self, command: Command, command_here: CommandHere, arguments: tuple[str, ...]
    ) -> None:
        # Given
        answer = command_here.run(*arguments, "--json").output

        # When
        shown = command.run_on_terminal(*arguments)

        # Then
        assert shown.code == 0
        page = re.sub(r"\x1b\[\d*m", "", shown.output)
        assert max(len(line) for line in page.splitlines()) <= 80
        owners: list[str] = re.findall(
            r"% +(?:access key|user|project|domain) (\S+) *$", shown.output, re.MULTILINE
        )
        assert len(owners) == 5
        assert any(UUID_PATTERN.fullmatch(owner) for owner in owners)
        data = msgspec.json.decode(answer, type=SchedulingData)
        known = {str(usage.owner_id) for usage in data.access_keys}
        known |= {str(usage.owner_id) for usage in data.users}
        known |= {str(usage.owner_id) for usage in data.projects}
        known |= {str(usage.owner_id) for usage in data.domains}
        assert set(owners) <= known
        # no part of one stands at the end of a line
        assert not re.search(r"(?<![0-9a-f-])[0-9a-f]{8}(-[0-9a-f]{4}){0,3}-?[0-9a-f]{0,11} *$", page, re.M)

    def test_json_says_why_each_session_waits(
        self, command_here: CommandHere, arguments: tuple[str, ...]
    ) -> None:
        answer = command_here.run(*arguments, "--json").output
        data = msgspec.json.decode(answer, type=SchedulingData)
        assert waiting_of(answer) == [
            Waiting(each.session_id, each.reason.value, describe(each, data)) for each in waiting_reasons(data)
        ]
        fields = msgspec.json.decode(answer, type=dict[str, object]).keys()
        assert fields == {*SchedulingData.__struct_fields__, "waiting"}

    def test_json_is_the_whole_of_it(self, command_here: CommandHere, arguments: tuple[str, ...]) -> None:
        ended = command_here.run(*arguments, "--json")
        data = msgspec.json.decode(ended.output, type=SchedulingData)
        assert 0 < len(data.pending_sessions) < 120
        assert len(data.agents) == 10
        assert data.scaling_group.name == "batch"

    def test_a_file_holds_what_json_shows(
        self, command_here: CommandHere, arguments: tuple[str, ...], tmp_path: Path
    ) -> None:
        path = tmp_path / "case"
        ended = command_here.run(*arguments, "--json", "-o", str(path))
        data = read_snapshot(path)
        assert data == msgspec.json.decode(ended.output, type=SchedulingData)
        pending = f"{len(data.pending_sessions)} pending sessions"
        assert ended.errors == f"{path}: {pending}, 10 agents, {path.stat().st_size:,} bytes\n"
        assert command_here.run(*arguments, "-o", str(path)).output == ""

    def test_no_name_is_in_an_anonymous_one(
        self, command_here: CommandHere, arguments: tuple[str, ...], tmp_path: Path
    ) -> None:
        path = tmp_path / "case"
        ended = command_here.run(*arguments, "--json")
        shown = command_here.run(*arguments, "--json", "-o", str(path), "--anonymize").output
        data = msgspec.json.decode(ended.output, type=SchedulingData)
        assert read_snapshot(path).agents[0].agent_id == "agent-01"
        for name in (data.agents[0].agent_id, data.access_keys[0].owner_id, str(data.users[0].owner_id)):
            assert name in ended.output
            assert name not in shown

    def test_a_pipe_gets_the_file(self, command: Command, arguments: tuple[str, ...], tmp_path: Path) -> None:
        path = tmp_path / "piped"
        with path.open("wb") as stream:
            piped = subprocess.run(
                [sys.executable, "-m", "scheduler_repo.cli", *arguments, "-o", "-"],
                stdout=stream,
                stderr=subprocess.PIPE,
                cwd=PROJECT_ROOT,
                env=command.environment({}),
                check=True,
            )
        assert piped.stderr == b""
        assert len(read_snapshot(path).agents) == 10

    def test_a_terminal_gets_no_bytes(self, command: Command, arguments: tuple[str, ...]) -> None:
        shown = command.run_on_terminal(*arguments, "-o", "-")
        assert shown.code == 2
        assert "-o - writes bytes, and stdout is a terminal" in shown.output

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/", "Is a directory: /"),
            ("/no/such/case", "No such file or directory: /no/such/case"),
            ("/dev/full", "No space left on device: /dev/full"),
        ],
    )
    def test_a_file_that_cannot_be_is_named(
        self, command_here: CommandHere, arguments: tuple[str, ...], path: str, expected: str
    ) -> None:
        ended = command_here.run(*arguments, "-o", path)
        assert (ended.code, ended.output, ended.error_line) == (1, "", f"error: {expected}")

    def test_some_staleness_is_answered_from_the_cache(
        self, command_here: CommandHere, arguments: tuple[str, ...], redis_url: str
    ) -> None:
        # Given an answer that is stored at the end of the first command
        redis, patient = ("--redis-url", redis_url), {"SCHEDULER_REPO_REDIS_TIMEOUT": str(PATIENCE)}
        first = command_here.run(*arguments, *redis, "--json", "--max-staleness", "50", **patient)

        # When
        cached = command_here.run(*arguments, *redis, "--json", "--max-staleness", "50", **patient)
        fresh = command_here.run(*arguments, *redis, "--json", **patient)

        # Then
        assert cached.output == first.output
        times = [msgspec.json.decode(each.output, type=SchedulingData).observed_at for each in (cached, fresh)]
        assert times[1] - times[0] > timedelta()
        shown = command_here.run(*arguments, *redis, "--max-staleness", "50", **patient)
        assert "answered by  the cache" in shown.output

    def test_a_cache_that_is_down_costs_a_warning(self, command: Command, arguments: tuple[str, ...]) -> None:
        redis = ("--redis-url", "redis://:hunter2@127.0.0.1:1")
        ended = command.run(*arguments, *redis, "--max-staleness", "5")
        assert ended.code == 0
        assert "cache unreachable" in ended.output
        (warning,) = ended.errors.splitlines()
        assert warning.startswith("warning: redis://@127.0.0.1:1: a look-up of scheduling_data failed")

    def test_a_cache_is_not_asked_where_no_staleness_is_allowed(
        self, command: Command, arguments: tuple[str, ...]
    ) -> None:
        ended = command.run(*arguments, "--redis-url", "redis://127.0.0.1:1", "--json")
        assert (ended.code, ended.errors) == (0, "")
