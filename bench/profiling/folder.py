"""The folder of a profile: written beside, and put in its place when it is whole."""

import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.profiling.kept import is_profile
from scheduler_repo.errors import InvalidInput

_OTHER: Final = "give a new folder, or that of an earlier profile"


def check_folder(folder: Path) -> None:
    """Raise InvalidInput for a folder that holds anything but a profile, or that cannot be made."""
    if folder.is_dir() and any(folder.iterdir()) and not is_profile(folder):
        raise InvalidInput(f"{folder} holds other files, and a profile would replace them; {_OTHER}")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InvalidInput(f"{folder} is no folder; {_OTHER}")
    # Said now, and not after all has been measured.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent):
        pass


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files: it is there whole, or as it was before. Raises as ``check_folder`` does."""
    check_folder(folder)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in files.items():
            (made / name).write_bytes(content)
            (made / name).chmod(0o644)
        made.chmod(0o755)
        _put_in_place(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _put_in_place(made: Path, folder: Path) -> None:
    if not folder.exists():
        made.rename(folder)
        return
    before = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    folder.rename(before)
    try:
        made.rename(folder)
    finally:
        if folder.exists():
            shutil.rmtree(before, ignore_errors=True)
        else:
            before.rename(folder)
