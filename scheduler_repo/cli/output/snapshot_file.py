"""The file of a snapshot as an option or argument names it; ``-`` is the pipe of the command."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from scheduler_repo.cli.terminal import say, write_file_to_pipe

if TYPE_CHECKING:
    from scheduler_repo.entities.scheduling_data import SchedulingData

_PIPE: Final = Path("-")


def check_output(path: Path, *, as_json: bool) -> None:
    """Raise UsageError if stdout is to take the file and cannot."""
    if path != _PIPE:
        return
    if as_json:
        raise click.UsageError("-o - and --json both write to stdout; give -o the path of a file")
    if sys.stdout.isatty():
        raise click.UsageError("-o - writes bytes, and stdout is a terminal; redirect it, or give a path")


def write_output(path: Path, data: "SchedulingData") -> None:
    """Write the snapshot and say so on stderr; raises OutputFailed for stdout, and OSError for another file."""
    from scheduler_repo.cli.output.amounts import format_count
    from scheduler_repo.scheduling.snapshot.packing import pack_snapshot
    from scheduler_repo.snapshot_files import write_snapshot

    if path == _PIPE:
        write_file_to_pipe(pack_snapshot(data))
        return
    size = write_snapshot(path, data)
    pending = format_count(len(data.pending_sessions), "pending session")
    agents = format_count(len(data.agents), "agent")
    say(f"{path}: {pending}, {agents}, {size:,} bytes", to_stderr=True)


def read_input(path: Path) -> "SchedulingData":
    """Read a snapshot; raises InvalidSnapshot, and UsageError for a terminal."""
    from scheduler_repo.errors import InvalidSnapshot
    from scheduler_repo.snapshot_files import read_snapshot, read_snapshot_from

    if path != _PIPE:
        return read_snapshot(path)
    if sys.stdin.isatty():
        raise click.UsageError(
            "- reads a snapshot from stdin, which is a terminal; redirect it, or give a path"
        )
    try:
        return read_snapshot_from(sys.stdin.buffer)
    except InvalidSnapshot as error:
        raise error.with_message(f"stdin: {error.found}", error.advice) from error
