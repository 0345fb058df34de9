"""The command line beside its work: help, version, pipes that close, disks that are full."""

import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from scheduler_repo.cli.output.amounts import format_amount, format_percent
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.types import SlotName
from tests.support.command import Command, CommandHere
from tests.support.databases import SCHEDULER, Database
from tests.support.observation import PROJECT_ROOT


class TestHelp:
    @pytest.mark.parametrize("arguments", [[], ["demo"], ["db"], ["db", "check"], ["snapshot"], ["replay"]])
    def test_it_fits_a_terminal(self, command_here: CommandHere, arguments: list[str]) -> None:
        ended = command_here.run(*arguments, "--help", COLUMNS="200")
        assert (ended.code, ended.errors) == (0, "")
        assert ended.output.startswith("Usage: scheduler-repo")
        assert max(len(line) for line in ended.output.splitlines()) <= 80

    def test_it_does_not_load_what_it_does_not_need(self, loaded_command: Command) -> None:
        program = (
            "import sys; from scheduler_repo.cli.main import main; sys.argv[1:] = ['--help']; main(); "
            "print(sorted({'sqlalchemy', 'asyncpg', 'redis', 'uvloop', 'rich', 'alembic'} & set(sys.modules)))"
        )
        output = subprocess.check_output([sys.executable, "-c", program], cwd=PROJECT_ROOT, text=True)
        assert output.splitlines()[-1] == "[]"

    def test_no_command_shows_the_help(self, command_here: CommandHere) -> None:
        ended = command_here.run()
        assert ended.code == 2
        assert "Usage: scheduler-repo" in ended.output + ended.errors


class TestInstalledCommand:
    def test_the_console_script_is_the_same(self) -> None:
        try:
            expected = version("scheduler-repo")
        except PackageNotFoundError:
            pytest.skip("the package is not installed here, so there is no console script")
        script = Path(sysconfig.get_path("scripts")) / "scheduler-repo"
        output = subprocess.check_output([script, "--version"], text=True)
        assert output == f"scheduler-repo {expected}\n"


class TestStreams:
    @pytest.mark.parametrize(("lines", "sessions"), [(1, 300), pytest.param(5, 3000, marks=pytest.mark.slow)])
    def test_a_reader_that_leaves_ends_it_quietly(
        self, loaded_command: Command, lines: int, sessions: int
    ) -> None:
        # Given
        process = loaded_command.start("demo", "--sessions", str(sessions))
        assert process.stdout is not None
        assert process.stderr is not None

        # When
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()

        # Then
        assert process.stderr.read() == ""
        assert process.wait(30) == 1
        process.stderr.close()
        assert loaded_command.left_behind() == []

    def test_a_full_disk_is_said(self, loaded_command: Command) -> None:
        with Path("/dev/full").open("w") as full:
            ended = subprocess.run(
                [sys.executable, "-m", "scheduler_repo.cli", "demo", "--sessions", "10"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                cwd=PROJECT_ROOT,
                env=loaded_command.environment({}),
                check=False,
            )
        assert ended.returncode == 1
        assert ended.stderr == "error: the output cannot be written: No space left on device\n"
        assert loaded_command.left_behind() == []

    def test_closed_streams_are_no_hindrance(
        self, loaded_command: Command, migrated_database: Database
    ) -> None:
        shell = f"{sys.executable} -m scheduler_repo.cli demo --agents 2 --sessions 10 <&- >&- 2>&-"
        url = migrated_database.url_as(SCHEDULER)
        ended = subprocess.run(
            ["/bin/sh", "-c", shell],
            cwd=PROJECT_ROOT,
            env=loaded_command.environment({"SCHEDULER_REPO_DATABASE_URL": url}),
            check=False,
        )
        assert ended.returncode == 0
        assert loaded_command.left_behind() == []


class TestAmounts:
    @pytest.mark.parametrize(
        ("amount", "units", "unit", "expected"),
        [
            (0, 1, "B", "0 B"),
            (1023, 1, "B", "1023 B"),
            (1024, 1, "B", "1.0 KiB"),
            (1024**4 - 1, 1, "B", "1,023.9 GiB"),
            (2**63 - 1, 1, "B", "7.9 EiB"),
            (6_086_800, 1000, "GPU", "6,086.8 GPU"),
            (5, 1000, "cores", "0.005 cores"),
            (12_345, 1, "", "12,345"),
        ],
    )
    def test_amounts_are_read_as_people_write_them(
        self, amount: int, units: int, unit: str, expected: str
    ) -> None:
        assert format_amount(amount, SlotType(SlotName("slot"), 0, units, unit)) == expected

    @pytest.mark.parametrize(
        ("part", "whole", "expected"),
        [
            (0, 0, "-"),
            (0, 7, "0.0 %"),
            (9_999, 10_000, "99.9 %"),
            (7, 7, "100.0 %"),
            (2**62, 2**63 - 1, "50.0 %"),
        ],
    )
    def test_a_share_is_never_rounded_up(self, part: int, whole: int, expected: str) -> None:
        assert format_percent(part, whole) == expected
