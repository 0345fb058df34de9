"""Folders for the files of servers that a test starts."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scheduler_repo.testing.memory_folder import memory_folder

_ELSEWHERE: Final = Path("/tmp")  # noqa: S108 - a directory of a name that nobody guesses is made in it


@contextmanager
def shared_folder(prefix: str) -> Iterator[Path]:
    """A new folder, in memory if it can be, that unlike pytest's own every account can enter."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=memory_folder() or _ELSEWHERE))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
