"""The private directory of one embedded server."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Optional

from scheduler_repo.embedded.account import Account
from scheduler_repo.errors import EmbeddedServerError

# sockaddr_un.sun_path holds 108 bytes on Linux and 104 elsewhere, one of them the closing NUL.
SOCKET_PATH_LIMIT: Final = 107
_FALLBACK_FOLDERS: Final = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108
_LOG_TAIL_BYTES: Final = 16_384
_LOG_TAIL_LINES: Final = 20


class PrivateDirectory:
    """A fresh directory with ``data``, ``socket`` and ``log`` in it, closed to every other account."""

    def __init__(self, path: Path, owner: Account) -> None:
        """Use a directory that exists and belongs to ``owner``; ``create`` makes one."""
        self.path = path
        self.owner = owner
        self.data = path / "data"
        self.socket = path / "socket"
        self.log = path / "log"

    @classmethod
    def create(cls, prefix: str, owner: Account, parent: Optional[Path]) -> "PrivateDirectory":
        """Make the directory, with mode 0700; the caller owns it until ``hand_over``.

        Raises EmbeddedServerError if no folder can hold it.
        """
        folder = _temporary_folder(owner) if parent is None else parent.absolute()
        if parent is not None and not owner.can_enter(folder):
            raise EmbeddedServerError(
                f"the server's directory was to be made in {folder}, which is missing or closed to the account "
                f"{owner.name!r} that the server runs as; give another folder (parent=)"
            )
        created = cls(Path(tempfile.mkdtemp(prefix=prefix, dir=folder)), owner)
        try:
            for inner in (created.data, created.socket):
                inner.mkdir(mode=0o700)
            created.log.touch(mode=0o600)
        except BaseException:
            created.remove()
            raise
        return created

    def hand_over(self) -> None:
        """Make the server's account the owner; from here on it may change anything in the directory."""
        self.owner.give(self.data, self.socket, self.log, self.path)

    def open_to_append(self, path: Path) -> int:
        """Open an existing file of the directory to append to it; raises OSError.

        Follows no link: the server's account could lead root elsewhere by one.
        """
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)

    def spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command as the server's account, and append its output to the log; raises OSError."""
        log = self.open_to_append(self.log)
        try:
            return self.owner.spawn(command, directory=self.path, output=log)
        finally:
            os.close(log)

    def socket_file(self, name: str) -> Path:
        """Return the path of a Unix socket; raises EmbeddedServerError if it is too long for one."""
        path = self.socket / name
        length = len(bytes(path))
        if length > SOCKET_PATH_LIMIT:
            raise EmbeddedServerError(
                f"the path of the server's Unix socket, {path}, has {length} bytes, and the system allows "
                f"{SOCKET_PATH_LIMIT}; give a folder with a shorter path (parent=, or TMPDIR)"
            )
        return path

    def log_tail(self) -> str:
        """Return the last lines of the log, or a note that there are none."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _LOG_TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError as error:
            return f"(the log cannot be read: {error})"
        return "\n".join(lines[-_LOG_TAIL_LINES:]) or "(the log is empty)"

    def remove(self) -> None:
        """Delete the directory and its contents; raises EmbeddedServerError if something cannot be deleted."""
        failure: Optional[OSError] = None
        for _ in range(50):
            try:
                shutil.rmtree(self.path)
            except FileNotFoundError:
                # Either everything is gone, or a server that is ending deleted a file first.
                if not self.path.exists():
                    return
            except OSError as error:
                failure = error
            else:
                return
            time.sleep(0.02)
        raise EmbeddedServerError(
            f"the server's directory {self.path} cannot be deleted ({failure}); delete it by hand"
        ) from failure


def _temporary_folder(owner: Account) -> Path:
    home = Path.home().resolve()
    for folder in (Path(tempfile.gettempdir()), *_FALLBACK_FOLDERS):
        below_home = home != Path("/") and folder.resolve().is_relative_to(home)
        if not below_home and owner.can_enter(folder):
            return folder.absolute()
    raise EmbeddedServerError(
        f"no temporary folder was found that is outside the home {home} and open to "
        f"the account {owner.name!r}; name a folder for the server's directory (parent=)"
    )
