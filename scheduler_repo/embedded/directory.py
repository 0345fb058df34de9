"""The private directory of one embedded server, and the operating-system account that owns it."""

import errno
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Optional

import msgspec

from scheduler_repo.errors import EmbeddedServerError

UNPRIVILEGED_ACCOUNT: Final = "nobody"
# sockaddr_un.sun_path holds 108 bytes on Linux and 104 elsewhere, one of them the closing NUL.
SOCKET_PATH_LIMIT: Final = 107
_FALLBACK_FOLDERS: Final = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108
_READ_BYTES: Final = 16_384
_LOG_TAIL_LINES: Final = 20


class Account(msgspec.Struct, frozen=True):
    """The user and group of a child process; without both ids the child keeps the caller's."""

    name: str
    uid: Optional[int] = None
    gid: Optional[int] = None

    @classmethod
    def of_caller(cls) -> "Account":
        try:
            name = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            name = f"uid {os.geteuid()}"
        return cls(name)

    @classmethod
    def without_privileges(cls) -> "Account":
        """Return the caller's account, or ``nobody`` for root; raises EmbeddedServerError without one."""
        if os.geteuid() != 0:
            return cls.of_caller()
        try:
            entry = pwd.getpwnam(UNPRIVILEGED_ACCOUNT)
        except KeyError as error:
            raise EmbeddedServerError(
                f"PostgreSQL does not run as root, and this system has no account {UNPRIVILEGED_ACCOUNT!r} "
                "to run it as; run as an ordinary user"
            ) from error
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)

    def spawn(self, command: Sequence[str], *, directory: Path, output: int) -> subprocess.Popen[bytes]:
        """Start a command as this account, in a session of its own; raises OSError if it cannot be run.

        Both of its streams go to the descriptor ``output``. It inherits only what a server needs of the
        environment.
        """
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=_environment(),
            start_new_session=True,
            umask=0o077,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
        )

    def can_run(self, command: Sequence[str], *, directory: Path) -> bool:
        """Return whether a short command, run as this account, exits with 0."""
        try:
            process = self.spawn(command, directory=directory, output=subprocess.DEVNULL)
        except OSError:
            return False
        try:
            return process.wait(timeout=30) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            process.kill()
            process.wait()

    def can_enter(self, folder: Path) -> bool:
        if self.uid is None:
            return os.access(folder, os.X_OK)
        shell = shutil.which("sh") or "/bin/sh"
        return self.can_run([shell, "-c", 'cd -- "$1"', shell, str(folder)], directory=Path("/"))

    def give(self, *paths: Path) -> None:
        """Make this account the owner of paths that the caller has created."""
        if self.uid is not None and self.gid is not None:
            for path in paths:
                os.chown(path, self.uid, self.gid)


class PrivateDirectory:
    """A fresh directory with ``data``, ``socket`` and ``log`` in it, which are closed to all but ``owner``.

    The directory itself, and programs in it, stay the caller's: nobody else can put others in their place.
    """

    def __init__(self, path: Path, owner: Account) -> None:
        self.path = path
        self.owner = owner
        self.data = path / "data"
        self.socket = path / "socket"
        self.log = path / "log"

    @classmethod
    def create(cls, prefix: str, owner: Account, parent: Optional[Path]) -> "PrivateDirectory":
        """Make the directory, with mode 0700; all in it is the caller's until ``hand_over``.

        Raises EmbeddedServerError if no folder can hold it.
        """
        folder = _find_temporary_folder(owner) if parent is None else parent.absolute()
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
        """Make the server's account the owner of data, socket and log; it may enter the directory then."""
        self.owner.give(self.data, self.socket, self.log)
        if self.owner.gid is not None:
            os.chown(self.path, -1, self.owner.gid)
            self.path.chmod(0o710)

    def open_to_append(self, path: Path, *, empty: bool = False) -> int:
        """Open an existing file of the directory to append to it, emptied first or not; raises OSError.

        Follows no link: the server's account could lead root elsewhere by one.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags | os.O_TRUNC if empty else flags)

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

    def read_part(self, path: Path, offset: int = 0) -> bytes:
        """Read a regular file of the directory, at most 16 KiB from ``offset``; raises OSError.

        Follows no link and waits for no pipe, which the server's account could have put there.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            return os.pread(descriptor, _READ_BYTES, offset)
        finally:
            os.close(descriptor)

    def log_since(self, offset: int) -> bytes:
        return self.read_part(self.log, offset)

    def log_tail(self) -> str:
        """Return the last lines of the log, or a note that there are none."""
        try:
            tail = self.log_since(max(0, self.log.lstat().st_size - _READ_BYTES))
        except OSError as error:
            return f"(the log cannot be read: {error})"
        lines = tail.decode(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return "\n".join(lines) or "(the log is empty)"

    def remove(self) -> None:
        """Delete the directory and its contents; raises EmbeddedServerError if something cannot be deleted."""
        failure: Optional[OSError] = None
        for _ in range(50):
            try:
                shutil.rmtree(self.path)
            except OSError as error:
                # Perhaps a server that is ending deleted a file first.
                failure = error
            if not self.path.exists():
                return
            time.sleep(0.02)
        raise EmbeddedServerError(
            f"the server's directory {self.path} cannot be deleted ({failure}); delete it by hand"
        ) from failure


def _find_temporary_folder(owner: Account) -> Path:
    home = Path.home().resolve()
    for folder in (Path(tempfile.gettempdir()), *_FALLBACK_FOLDERS):
        below_home = home != Path("/") and folder.resolve().is_relative_to(home)
        if not below_home and owner.can_enter(folder):
            return folder.absolute()
    raise EmbeddedServerError(
        f"no temporary folder was found that is outside the home {home} and open to "
        f"the account {owner.name!r}; name a folder for the server's directory (parent=)"
    )


def _environment() -> dict[str, str]:
    # The caller's PG* variables and locale would change the server, and its secrets must not reach it.
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **kept}
