"""The file that ``db purge --archive`` appends sessions to, a line of JSON each."""

import fcntl
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Optional

import click
import msgspec

from scheduler_repo.cli.terminal import say
from scheduler_repo.entities.retention import ArchivedSession
from scheduler_repo.quoting import visible_json

_PIECE_BYTES: Final = 64 * 1024
_LINE_BEGINS: Final = f'{{"{ArchivedSession.__struct_fields__[0]}":"'.encode()


@contextmanager
def open_archive(
    path: Optional[Path],
) -> Iterator[Optional[Callable[[Sequence[ArchivedSession]], Awaitable[None]]]]:
    """Open and lock the archive, and yield the function that appends to it; raises ClickException."""
    if path is None:
        yield None
        return
    if path.exists() and not path.is_file():
        problem = "is not a regular file, and an archive must be on a disk; give another"
        raise click.ClickException(f"{path} {problem}")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        _claim(descriptor, path)

        async def append(sessions: Sequence[ArchivedSession]) -> None:
            """Write each session as one line of JSON and sync; all lines are on disk then, or none."""
            size = os.fstat(descriptor).st_size
            lines = msgspec.json.Encoder().encode_lines(sessions).decode()
            # A person may look into the file.
            rest = memoryview(visible_json(lines).encode())
            try:
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            except OSError as error:
                # Half a line would spoil the next one.
                os.ftruncate(descriptor, size)
                error.filename = str(path)
                raise

        yield append
    finally:
        os.close(descriptor)


def _claim(descriptor: int, path: Path) -> None:
    """Lock the file, see that its last line is whole, and make its name in the folder durable."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        problem = f"another purge archives to {path}; wait for it, or give another file"
        raise click.ClickException(problem) from None
    _mend_last_line(descriptor, path)
    folder = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _mend_last_line(descriptor: int, path: Path) -> None:
    """Remove a last line that a crash cut off; raises ClickException if it is none of an archive.

    Its batch was not committed, as that is done only when all of its lines are on disk.
    """
    size = os.fstat(descriptor).st_size
    start = _find_end_of_lines(descriptor, size)
    if start == size:
        return
    found = os.pread(descriptor, len(_LINE_BEGINS), start)
    # After a loss of power there may be zeros in place of what was not written yet.
    if not _LINE_BEGINS.startswith(found) and found.strip(b"\0"):
        raise click.ClickException(
            f"{path} does not end with a whole line, and its last one is no session's; give another file"
        )
    os.ftruncate(descriptor, start)
    os.fsync(descriptor)
    cut = f"{size - start} bytes that an interrupted purge left"
    say(f"{path}: removed the last line, {cut}; its session was not purged then", to_stderr=True)


def _find_end_of_lines(descriptor: int, size: int) -> int:
    """Return where the last line break of a file ends, 0 if there is none; reads backwards, in pieces."""
    end = size
    while end > 0:
        start = max(0, end - _PIECE_BYTES)
        place = os.pread(descriptor, end - start, start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0
