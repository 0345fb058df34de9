"""The operating-system account that a server runs as: the caller's own, or ``nobody`` for root."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Optional

from scheduler_repo.errors import EmbeddedServerError

UNPRIVILEGED_ACCOUNT: Final = "nobody"


class Account:
    """The user and group of a child process; without ids the child keeps the caller's."""

    def __init__(self, name: str, uid: Optional[int] = None, gid: Optional[int] = None) -> None:
        """Give both ids, or neither."""
        self.name = name
        self.uid = uid
        self.gid = gid

    @classmethod
    def of_caller(cls) -> "Account":
        """Return the caller's own account."""
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
        """Return whether this account can reach the contents of a folder."""
        if self.uid is None:
            return os.access(folder, os.X_OK)
        shell = shutil.which("sh") or "/bin/sh"
        return self.can_run([shell, "-c", 'cd -- "$1"', shell, str(folder)], directory=Path("/"))

    def give(self, *paths: Path) -> None:
        """Make this account the owner of paths that the caller has created."""
        if self.uid is None or self.gid is None:
            return
        for path in paths:
            os.chown(path, self.uid, self.gid)


def _environment() -> dict[str, str]:
    # The caller's PG* variables and locale would change the server, and its secrets must not reach it.
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **kept}
