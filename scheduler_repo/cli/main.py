"""The console script: runs one command and turns the outcome into an exit code."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from scheduler_repo.cli.process.invocation import Interrupted, Invocation
from scheduler_repo.cli.process.secret_arguments import hide_secret_urls
from scheduler_repo.cli.terminal import say_error

if TYPE_CHECKING:
    import click

PROGRAM: Final = "scheduler-repo"


def main() -> int:
    """Run ``scheduler-repo`` and return its exit code."""

    def load() -> "click.Command":
        from scheduler_repo.cli.command_group import command_line

        return command_line

    return run_program(PROGRAM, load)


def run_program(name: str, load: "Callable[[], click.Command]") -> int:
    """Run one command of a program and return its exit code; ``load`` imports the program's commands.

    0 success, 1 an error, reported in one line, 2 wrong usage, 128 + n ended by signal n. The exception hook
    reports an unforeseen error in one line too, and the interpreter then exits with 1.
    """
    invocation = Invocation()
    try:
        invocation.watch_signals()
        _open_missing_streams()
        hide_secret_urls()
        # The rest loads only now that signals are handled and passwords hidden.
        command = load()
        from scheduler_repo.cli.process.failure import report_stray_errors, run_reporting_failures

        report_stray_errors()
        return run_reporting_failures(command, invocation, name)
    except Interrupted as interruption:
        say_error(str(interruption))
        return interruption.exit_code


def _open_missing_streams() -> None:
    """Point streams that the parent has closed (``>&-``) at /dev/null, before a socket gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123
