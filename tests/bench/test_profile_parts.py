"""The parts of a profile: phases, graphs, summary and folder, and the comparison of two."""

import json
from pathlib import Path

import msgspec
import pytest

from bench.profiling.comparison import compare, find_differences
from bench.profiling.folder import check_folder, write_folder
from bench.profiling.frames import FrameNode, hottest, trimmed
from bench.profiling.kept import FILE, FORMAT, KIND, CaseProfile, Profile, read_profile
from bench.profiling.phases import Phase, Turn, make_phases
from bench.profiling.summary import LINES, sum_up
from bench.profiling.trace import Event
from scheduler_repo.errors import InvalidInput
from tests.support.command import CommandHere


def a_phase(name: str, wall_ms: float, server_ms: float) -> Phase:
    return Phase("read", name, 1, wall_ms, server_ms, rows=7, received=2_048)


def a_case(name: str, *phases: Phase) -> CaseProfile:
    total = sum(phase.wall_ms for phase in phases)
    return CaseProfile(
        name=name,
        turns=1,
        total_ms=total,
        min_ms=total,
        max_ms=total,
        phases=phases,
        plans=(),
        blocks=(),
        hottest=(),
        allocated=(),
        peak_bytes=0,
    )


def a_profile(*cases: CaseProfile, size: str = "S", processor: str = "fast") -> Profile:
    return Profile(
        kind=KIND,
        format=FORMAT,
        suite="read",
        size=size,
        server_clock="log",
        machine={"processor": processor, "load_average": [1.0], "postgresql": {"work_mem": "4MB"}},
        summary=("all is well",),
        cases=cases,
    )


class TestPhases:
    def turn(self, *events: Event, ended: float) -> Turn:
        return Turn(0.0, ended, events)

    def test_are_what_happened_and_the_python_between(self) -> None:
        # given
        turn = self.turn(
            Event("read", "checkout", 0.1, 0.2),
            Event("read", "begin", 0.2, 0.3, 0.05),
            Event("read", "agents", 0.3, 0.5, 0.1, 7, 1_000),
            Event("read", "commit", 0.5, 0.6, 0.01),
            Event("", "plan", 0.8, 1.0),
            Event("write", "begin", 1.0, 1.1),
            Event("write", "lock", 1.1, 1.2, 0.1, 1, 10),
            Event("write", "lock", 1.2, 1.3, 0.1, 2, 10),
            Event("write", "place", 1.5, 1.6, 0.05, 3, 10),
            ended=1.6,
        )
        # when
        phases = {phase.label: phase for phase in make_phases([turn])}
        # then
        assert list(phases) == [
            "Python before all else",
            "read: checkout",
            "read: begin",
            "read: agents",
            "read: commit",
            "read: transform",
            "plan",
            "write: begin",
            "write: lock",
            "write: Python before place",
            "write: place",
        ]
        assert sum(phase.wall_ms for phase in phases.values()) == pytest.approx(1_600)
        agents = phases["read: agents"]
        assert (agents.wall_ms, agents.server_ms, agents.client_ms) == pytest.approx((200, 100, 100))
        assert (agents.rows, agents.received) == (7, 1_000)
        assert (phases["write: lock"].calls, phases["write: lock"].rows) == (2, 3)
        assert phases["read: transform"].is_python
        assert phases["plan"].is_python
        assert phases["read: checkout"].server_ms is None

    def test_are_medians_and_of_the_part_that_counts(self) -> None:
        turns = [
            self.turn(Event("read", "agents", 0.0, seconds, seconds / 2, 10, 10), ended=seconds)
            for seconds in (0.1, 0.9, 0.2)
        ]
        (phase,) = make_phases(turns, parts=0.1)
        assert (phase.calls, phase.wall_ms, phase.server_ms, phase.rows) == pytest.approx((0.1, 20, 10, 1))

    def test_short_python_is_counted_together(self) -> None:
        turn = self.turn(
            *(Event("read", name, at, at + 0.999) for at, name in enumerate(("begin", "one", "two", "three"))),
            ended=3.999,
        )
        names = [phase.label for phase in make_phases([turn])]
        assert names[-1] == "read: Python between the statements"
        assert len(names) == 5


class TestFrames:
    def test_the_harness_is_left_out_and_the_heaviest_are_found(self) -> None:
        # given
        root = FrameNode("all", "", 0.0, [])
        harness = [("main", "bench/cli/profile_run.py:1"), ("call", "bench/profiling/passes.py:9")]
        root.add([*harness, ("read", "a.py:1"), ("fetch", "b.py:1")], 70)
        root.add([*harness, ("read", "a.py:1")], 20)
        root.add([("callback", "c.py:1")], 10)
        # when
        tree = trimmed(root)
        # then
        assert [(child.name, child.amount) for child in tree.children] == [("read", 90), ("callback", 10)]
        assert [(frame.name, frame.amount, frame.share) for frame in hottest(tree, 2)] == [
            ("fetch", 70, 0.7),
            ("read", 20, 0.2),
        ]


class TestComparison:
    def test_has_the_ratio_of_each_phase(self) -> None:
        before = a_profile(a_case("full read", a_phase("agents", 10, 4), a_phase("gone", 1, 1)))
        after = a_profile(a_case("full read", a_phase("agents", 5, 3)))
        (case,) = compare(before, after)
        assert [(phase.name, phase.ratio) for phase in case.phases] == [
            ("in all", pytest.approx(5 / 11)),
            ("read: agents", 0.5),
            ("read: gone", None),
        ]
        assert case.phases[1].server_ratio == 0.75
        assert find_differences(before, after) == ()

    def test_says_what_else_differs(self) -> None:
        before = a_profile(a_case("full read"), a_case("one session"))
        after = msgspec.structs.replace(
            a_profile(a_case("full read"), size="M", processor="slow"), server_clock="explain"
        )
        assert find_differences(before, after) == (
            "size: S and M",
            "server clock: log and explain",
            "cases of the first alone: one session",
            "processor: fast and slow",
        )

    def test_is_printed_with_what_differs(self, command_here: CommandHere, tmp_path: Path) -> None:
        # given
        before = a_profile(a_case("full read", a_phase("agents", 10, 4)))
        after = a_profile(a_case("full read", a_phase("agents", 25, 5)), size="M")
        paths = [str(tmp_path / name) for name in ("before", "after")]
        for path, profile in zip(paths, (before, after), strict=True):
            write_folder(Path(path), {FILE: profile.to_json()})
        # when
        shown = command_here.run("profile", "--compare", *paths)
        encoded = command_here.run("profile", "--compare", *paths, "--json")
        # then
        assert shown.code == encoded.code == 0, shown.errors + encoded.errors
        lines = shown.output.splitlines()
        assert "differs: size: S and M" in lines
        assert [line.split() for line in lines if line.startswith("read: agents")] == [
            ["read:", "agents", "10.0", "25.0", "2.50", "1.25"]
        ]
        assert json.loads(encoded.output)["cases"][0]["phases"][1]["ratio"] == 2.5

    def test_of_profiles_without_a_common_case_is_refused(
        self, command_here: CommandHere, tmp_path: Path
    ) -> None:
        for name in ("one", "two"):
            write_folder(tmp_path / name, {FILE: a_profile(a_case(name)).to_json()})
        ended = command_here.run("profile", "--compare", str(tmp_path / "one"), str(tmp_path / "two"))
        assert ended.code == 1
        assert "have no case in common" in ended.error_line


class TestSummary:
    def test_has_ten_lines_however_many_cases_there_are(self) -> None:
        cases = [a_case(f"case {number}", a_phase("agents", number, 1)) for number in range(1, 9)]
        lines = sum_up("growth", "M", cases)
        assert len(lines) == LINES
        assert lines[0] == "growth, size M, the 4 slowest of 8 cases; medians, ms:"
        assert [line.partition(":")[0] for line in lines[1:5]] == [f"case {n} {n}.00" for n in (5, 6, 7, 8)]
        assert "server: agents is the heaviest, 1.00 of 8.00 ms for 7 rows, 2.0 KiB" in lines

    def test_looks_further_into_a_single_case(self) -> None:
        phases = (a_phase(name, 5 - number, 1) for number, name in enumerate(("a", "b", "c", "d", "e")))
        lines = sum_up("read", "M", [a_case("full read", *phases)])
        assert len(lines) == LINES
        assert lines[-3:] == (
            "wire: a is the largest answer, 2.0 KiB of 10.0 KiB",
            "server: b is the next, 1.00 of 4.00 ms for 7 rows, 2.0 KiB",
            "then: d 13 %, e 7 %",
        )


class TestFolder:
    def test_is_there_whole_and_replaces_a_profile_only(self, tmp_path: Path) -> None:
        # given
        folder = tmp_path / "deep" / "profile"
        first, second = a_profile(a_case("one")), a_profile(a_case("two"))
        write_folder(folder, {FILE: first.to_json(), "index.html": b"first"})
        assert read_profile(folder) == first
        # when
        write_folder(folder, {FILE: second.to_json()})
        # then
        assert [path.name for path in folder.iterdir()] == [FILE]
        assert read_profile(folder) == second
        assert [path.name for path in folder.parent.iterdir()] == ["profile"]

    def test_that_holds_other_files_is_refused_as_it_is(self, tmp_path: Path) -> None:
        folder, file = tmp_path / "folder", tmp_path / "file"
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")
        file.write_text("mine")
        for path, said in ((folder, "holds other files"), (file, "is no folder")):
            with pytest.raises(InvalidInput, match=said):
                check_folder(path)
            with pytest.raises(InvalidInput, match=said):
                write_folder(path, {FILE: b"{}"})
        assert (folder / "mine.txt").read_text() == file.read_text() == "mine"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]

    def test_that_cannot_be_written_whole_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            write_folder(tmp_path / "profile", {FILE: b"{}", "no such folder/index.html": b""})
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b'{"kind": "another"}', "is no profile"),
            (b"not JSON", "is no profile"),
            (json.dumps({"kind": KIND, "format": 99}).encode(), "is a profile of format 99"),
            (json.dumps({"kind": KIND, "format": FORMAT}).encode(), "is damaged"),
        ],
    )
    def test_that_cannot_be_read_is_named(self, content: bytes, said: str, tmp_path: Path) -> None:
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(InvalidInput, match=said):
            read_profile(tmp_path)
