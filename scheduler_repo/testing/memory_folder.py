"""Where a test server keeps its files if it can: in memory, where a copied database costs a tenth as much."""

import os
import shutil
from pathlib import Path
from typing import Final, Optional

_FOLDER: Final = Path("/dev/shm")  # noqa: S108 - the server makes a private directory in it
_ENOUGH_BYTES: Final = 4 * 2**30


def memory_folder() -> Optional[Path]:
    """A folder in memory with room for a server, its programs and all that tests load; else None."""
    if not os.access(_FOLDER, os.W_OK) or shutil.disk_usage(_FOLDER).free < _ENOUGH_BYTES:
        return None
    # Containers often have one from which no program can be started.
    return None if os.statvfs(_FOLDER).f_flag & os.ST_NOEXEC else _FOLDER
