"""The real command in a process of its own, and what it leaves behind."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Optional, Union

import click
import msgspec
import pytest

from scheduler_repo.cli.command_group import command_line
from scheduler_repo.cli.process.failure import run_reporting_failures
from scheduler_repo.cli.process.invocation import Invocation
from tests.support.forked import Forked, fork_command
from tests.support.observation import PROJECT_ROOT, processes_in
from tests.support.waiting import PATIENCE

Started = Union["subprocess.Popen[str]", Forked]


class Ended(msgspec.Struct, frozen=True):
    """A command that has ended."""

    code: int
    output: str
    errors: str

    @property
    def error_line(self) -> str:
        """The one line that it said on stderr; fails if there were more, or a traceback."""
        lines = self.errors.splitlines()
        assert len(lines) == 1, self.errors
        assert lines[0].startswith("error: "), self.errors
        return lines[0]


class Command:
    """Runs ``scheduler-repo``, or another module; its servers' directories go below ``folder``."""

    def __init__(self, folder: Path, module: str = "scheduler_repo.cli") -> None:
        self.folder = folder
        self._module = module

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("SCHEDULER_REPO_")
        }
        return {**inherited, "TMPDIR": str(self.folder), "COLUMNS": "80", **variables}

    def start(self, *arguments: str, **variables: str) -> Started:
        """Start with pipes for both streams."""
        return self._start(arguments, self.environment(variables), None)

    def _start(
        self, arguments: tuple[str, ...], environment: dict[str, str], terminal: Optional[int]
    ) -> Started:
        return subprocess.Popen(
            [sys.executable, "-m", self._module, *arguments],
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=subprocess.PIPE if terminal is None else terminal,
            stderr=subprocess.PIPE if terminal is None else terminal,
            text=True,
            cwd=PROJECT_ROOT,
            env=environment,
        )

    def run(self, *arguments: str, **variables: str) -> Ended:
        """Run to the end."""
        process = self.start(*arguments, **variables)
        output, errors = process.communicate(timeout=PATIENCE)
        return Ended(process.wait(), output, errors)

    def run_on_terminal(self, *arguments: str) -> Ended:
        """Run to the end on a terminal of 80 columns; both streams go there."""
        ours, theirs = pty.openpty()
        environment = self.environment({"TERM": "xterm-256color", "NO_COLOR": "1"})
        process = self._start(arguments, environment, theirs)
        os.close(theirs)
        shown = _read_all(ours)
        return Ended(process.wait(PATIENCE), shown, "")

    def run_until(self, mark: str, number: signal.Signals, *arguments: str, impatient: bool = False) -> Ended:
        """Run until a line begins with ``mark``, send a signal, and wait for the end.

        The ``impatient`` send it again and again for as long as there is anything to clean up.
        """
        process = self.start(*arguments)
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if line.startswith(mark):
                break
        else:
            raise AssertionError(f"no line begins with {mark!r}: {output}{process.communicate()[1]}")
        process.send_signal(number)
        while impatient and process.poll() is None and any(self.folder.iterdir()):
            process.send_signal(number)
            time.sleep(0.001)
        rest, errors = process.communicate(timeout=PATIENCE)
        return Ended(process.wait(), output + rest, errors)

    def left_behind(self) -> list[object]:
        """The processes and directories below the folder, when those that are ending have ended."""
        deadline = time.monotonic() + PATIENCE
        while True:
            left: list[object] = [*processes_in(self.folder), *self.folder.iterdir()]
            # Nothing announces the end of a watcher, a process of no relation to this one.
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.01)


class ForkedCommand(Command):
    """The same, forked from a process that has loaded it: where how it is loaded does not matter."""

    def _start(
        self, arguments: tuple[str, ...], environment: dict[str, str], terminal: Optional[int]
    ) -> Started:
        return fork_command(self._module, arguments, environment, terminal)


class CommandHere:
    """Runs ``scheduler-repo``, or another program, in this process, without its own signals."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        program: click.Command = command_line,
        name: str = "scheduler-repo",
    ) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self._program = program
        self._name = name

    def run(self, *arguments: str, **variables: str) -> Ended:
        """Run to the end."""
        with self._monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("SCHEDULER_REPO_")]:
                patch.delenv(name)
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", [self._name, *arguments])
            patch.setattr(sys, "excepthook", sys.excepthook)
            code = run_reporting_failures(self._program, Invocation(), self._name)
        output, errors = self._capsys.readouterr()
        return Ended(code, output, errors)


def _read_all(terminal: int) -> str:
    chunks: list[bytes] = []
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other side has closed
            chunk = b""
        if not chunk:
            os.close(terminal)
            return b"".join(chunks).decode().replace("\r\n", "\n")
        chunks.append(chunk)
