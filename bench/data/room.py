"""Whether the machine has room for a cluster; said before anything is started."""

import shutil
import tempfile
from pathlib import Path
from typing import Final

from bench.data.sizes import MEBIBYTE, ClusterSize
from scheduler_repo.errors import InvalidInput, MissingDependency

_ADVICE: Final = "give a smaller --size"


def require_room(size: ClusterSize, *, is_embedded: bool) -> None:
    """Raise InvalidInput if there is too little memory, or too little disk for an embedded server."""
    _refuse_less("memory", available_memory(), size.memory_bytes, "")
    if is_embedded:
        folder = Path(tempfile.gettempdir())
        free = shutil.disk_usage(folder).free
        _refuse_less(f"disk in {folder}", free, size.disk_bytes, ", or another folder by TMPDIR")


def available_memory() -> int:
    """Return the bytes of memory that may be taken; raises MissingDependency without psutil."""
    try:
        import psutil
    except ModuleNotFoundError as error:
        raise MissingDependency("psutil is not installed; pip install 'scheduler-repo[bench]'") from error
    return int(psutil.virtual_memory().available)


def _refuse_less(what: str, found: int, needed: int, advice: str) -> None:
    if found < needed:
        raise InvalidInput(
            f"too little {what}: the clusters of this size take up to {needed // MEBIBYTE:,} MiB, "
            f"{found // MEBIBYTE:,} MiB are free; {_ADVICE}{advice}"
        )
