"""``python -m bench``: the program of this folder."""

import sys
from typing import TYPE_CHECKING

from scheduler_repo.cli.main import run_program

if TYPE_CHECKING:
    import click


def _load() -> "click.Command":
    from bench.cli.command_group import command_line

    return command_line


if __name__ == "__main__":  # not in the processes that a suite starts
    sys.exit(run_program("python -m bench", _load))
