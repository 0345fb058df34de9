"""``scheduler-repo replay``: no server is there."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.snapshot.packing import pack_snapshot
from scheduler_repo.snapshot_files import write_snapshot
from scheduler_repo.types import SessionId
from tests.support.command import Command, CommandHere
from tests.support.observation import PROJECT_ROOT
from tests.support.strategies import make_agent, make_data, make_session

DATA = make_data(
    (make_agent("agent-a", (5, 5, 0)), make_agent("agent-b\x1b[2J\nerror: x", (9, 9, 0))),
    tuple(make_session(number, *[(number, 1, 0)] * number) for number in range(1, 6)),
)
PLANNERS = """
class Nothing:
    def plan(self, data): return []

class Careless:
    def plan(self, data): raise KeyError("cpu")

class NoPlan:
    def plan(self, data): return None

class NoPlanner: pass

class Needy:
    def __init__(self, wanted): pass

nothing = Nothing()
"""


class Waiting(msgspec.Struct):
    """Why one session waits."""

    session_id: SessionId
    reason: str
    text: str


class Answer(msgspec.Struct):
    """What --json prints."""

    scaling_group: str
    planner: str
    placed: tuple[SessionAllocation, ...]
    rejected: list[object]
    waiting: list[Waiting]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The file of a snapshot."""
    write_snapshot(tmp_path / "case", DATA)
    return str(tmp_path / "case")


@pytest.fixture
def planners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planners of a user, in the folder that the command is called from."""
    (tmp_path / "planners_of_mine.py").write_text(PLANNERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "planners_of_mine", raising=False)


class TestReplay:
    def test_a_page_for_people(self, command_here: CommandHere, path: str) -> None:
        ended = command_here.run("replay", path)
        assert (ended.code, ended.errors) == (0, "")
        assert "\x1b" not in ended.output
        assert not re.search("^error", ended.output, re.MULTILINE)
        for line in (
            "group             gpu-pool, 5 pending sessions, 2 agents",
            "placed            3",
            "waiting           2",
            "  LARGER_THAN_ANY_AGENT  2",
        ):
            assert re.search(re.sub(" +", " +", line), ended.output), ended.output
        assert "LARGER_THAN_ANY_AGENT: no candidate agent, even empty, is large enough for cpu" in ended.output

    def test_json_has_all_decisions(self, command_here: CommandHere, path: str) -> None:
        answer = msgspec.json.decode(command_here.run("replay", path, "--json").output, type=Answer)
        assert answer.placed == BestFitPlanner().plan(DATA)
        assert (answer.scaling_group, answer.planner, answer.rejected) == ("gpu-pool", "BestFitPlanner", [])
        placed = {each.session_id for each in answer.placed}
        waiting = [each.session_id for each in DATA.pending_sessions if each.session_id not in placed]
        assert [each.session_id for each in answer.waiting] == waiting

    def test_a_page_is_as_long_as_is_asked(self, command_here: CommandHere, path: str) -> None:
        output = command_here.run("replay", path, "--show", "1").output
        assert "and 2 more; --show sets how many, --json shows all" in output
        assert "and 1 more; " in output

    def test_a_terminal_of_80_columns(self, command: Command, path: str) -> None:
        shown = command.run_on_terminal("replay", path)
        page = re.sub(r"\x1b\[\d*m", "", shown.output)
        assert shown.code == 0
        assert max(len(line) for line in page.splitlines()) <= 80
        assert all(str(each.session_id) in page for each in DATA.pending_sessions)

    def test_a_pipe(self, command: Command) -> None:
        piped = subprocess.run(
            [sys.executable, "-m", "scheduler_repo.cli", "replay", "-", "--json"],
            input=pack_snapshot(DATA),
            capture_output=True,
            cwd=PROJECT_ROOT,
            env=command.environment({}),
            check=True,
        )
        assert msgspec.json.decode(piped.stdout, type=Answer).placed == BestFitPlanner().plan(DATA)


@pytest.mark.usefixtures("planners")
class TestPlanners:
    @pytest.mark.parametrize("name", ["Nothing", "nothing"])
    def test_one_of_ones_own(self, command_here: CommandHere, path: str, name: str) -> None:
        ended = command_here.run("replay", path, "--json", "--planner", f"planners_of_mine:{name}")
        answer = msgspec.json.decode(ended.output, type=Answer)
        assert (answer.planner, answer.placed, len(answer.waiting)) == ("Nothing", (), 5)
        assert answer.waiting[0].reason == "PLACEABLE"

    @pytest.mark.parametrize(
        ("name", "code", "expected"),
        [
            ("planners_of_mine", 2, "'planners_of_mine' is not MODULE:OBJECT, such as planners:FirstFit"),
            ("no_such:Planner", 2, "'no_such:Planner' cannot be loaded: ModuleNotFoundError"),
            ("planners_of_mine:Typo", 2, "has no attribute 'Typo'"),
            ("planners_of_mine:NoPlanner", 2, "planner is a NoPlanner without a method plan(data)"),
            ("planners_of_mine:Needy", 2, "missing 1 required positional argument"),
            ("planners_of_mine:Careless", 1, "Careless.plan() raised KeyError: 'cpu'; see where with --debug"),
            ("planners_of_mine:NoPlan", 1, "NoPlan.plan() returned a NoneType"),
        ],
    )
    def test_what_is_none_is_named(
        self, command_here: CommandHere, path: str, name: str, code: int, expected: str
    ) -> None:
        ended = command_here.run("replay", path, "--planner", name)
        assert (ended.code, ended.output) == (code, "")
        assert expected in ended.error_line


class TestNoSnapshot:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/no/such", "'/no/such' cannot be read: No such file or directory; give a file that"),
            ("/", "'/' cannot be read: Is a directory"),
            ("/dev/null", "/dev/null: it is empty; write it again with: scheduler-repo snapshot GROUP -o FILE"),
            (__file__, "it is no snapshot file; it begins with"),
        ],
    )
    def test_one_line_says_so(self, command_here: CommandHere, path: str, expected: str) -> None:
        ended = command_here.run("replay", path)
        assert (ended.code, ended.output) == (1, "")
        assert expected in ended.error_line
