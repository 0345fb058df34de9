"""A real PgBouncer of the test's own: started before a server, stopped, stalled and killed."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Optional

import sqlalchemy as sa

from scheduler_repo.embedded.directory import Account
from tests.support.databases import OWNER, READER, SCHEDULER
from tests.support.waiting import PATIENCE

# Paths of PgBouncers, separated as in PATH; without it, the one that is installed.
BINARIES_VARIABLE: Final = "SCHEDULER_REPO_TEST_PGBOUNCERS"
_PORT: Final = 6432  # of a Unix socket only
_UP: Final = b"process up"
# The first version that follows named statements from one server connection to the next.
_FOLLOWS_STATEMENTS: Final = (1, 21)


def found_binaries() -> tuple[Path, ...]:
    """The PgBouncers to test with."""
    given = os.environ.get(BINARIES_VARIABLE)
    if given:
        return tuple(Path(path) for path in given.split(os.pathsep))
    installed = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    return () if installed is None else (Path(installed),)


def version_of(binary: Path) -> tuple[int, ...]:
    """Its version, as numbers."""
    words = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"PgBouncer (\d+)\.(\d+)", words)
    assert found is not None, words
    return tuple(map(int, found.groups()))


class Bouncer:
    """One PgBouncer in a folder of its own, on a Unix socket; of the server it passes every database on."""

    def __init__(self, binary: Path, server_url: str, folder: Path) -> None:
        """Made by ``bouncing``."""
        self.version = version_of(binary)
        self._binary = binary
        self._server_url = server_url
        self._folder = folder
        self._account = Account.without_privileges()
        self._process: Optional[subprocess.Popen[bytes]] = None

    @property
    def socket_file(self) -> Path:
        """Where it listens."""
        return self._folder / f".s.PGSQL.{_PORT}"

    def url_of(self, url: str) -> str:
        """The URL of a database of the server, by way of this PgBouncer."""
        given = sa.make_url(url)
        place = {"host": str(self._folder), "port": str(_PORT)}
        made = sa.URL.create(
            given.drivername, given.username, given.password, database=given.database, query=place
        )
        return made.render_as_string(hide_password=False)

    def stand_before(self, url: str) -> None:
        """Take another server, on a Unix socket of the caller's, which is given to the account it runs as."""
        self._server_url = url
        folder = Path(str(sa.make_url(url).query["host"]))
        self._account.give(folder, *folder.iterdir())

    def start(self, *, follows_statements: Optional[bool] = None, **settings: object) -> None:
        """Start it in transaction mode with two server connections, unless ``settings`` say otherwise."""
        if follows_statements is not None and self.version >= _FOLLOWS_STATEMENTS:
            settings["max_prepared_statements"] = 100 if follows_statements else 0
        configuration, users = self._folder / "pgbouncer.ini", self._folder / "users.txt"
        names = {OWNER, SCHEDULER, READER, sa.make_url(self._server_url).username or ""}
        users.write_text("".join(f'"{name}" ""\n' for name in sorted(names)), encoding="utf-8")
        configuration.write_text(self._configuration(users, settings), encoding="utf-8")
        self._account.give(self._folder, configuration, users)
        # A killed one leaves its own behind.
        self.socket_file.unlink(missing_ok=True)
        log = self._folder / "log"
        with log.open("wb") as output:
            command = [str(self._binary), str(configuration)]
            self._process = self._account.spawn(command, directory=self._folder, output=output.fileno())
        started = time.monotonic()
        # A connection, to see whether it listens, would be counted as a client.
        while _UP not in log.read_bytes():
            if self._process.poll() is not None or time.monotonic() - started > PATIENCE:
                raise AssertionError(log.read_text(errors="replace"))
            time.sleep(0.002)

    def _configuration(self, users: Path, settings: dict[str, object]) -> str:
        server = sa.make_url(self._server_url)
        # As SQLAlchemy reads it: what stands behind the question mark goes first.
        host = server.query.get("host", server.host or "localhost")
        port = server.query.get("port", server.port or 5432)
        lines = {
            "unix_socket_dir": self._folder,
            "listen_port": _PORT,
            "auth_type": "trust",
            "auth_file": users,
            "pool_mode": "transaction",
            "default_pool_size": 2,
            **settings,
        }
        text = "\n".join(f"{name} = {value}" for name, value in lines.items())
        return f"[databases]\n* = host={host} port={port}\n[pgbouncer]\n{text}\n"

    def stall(self) -> None:
        """Stop the process where it stands: its sockets stay open, and nothing passes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it, if it runs, without a word to anyone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def bouncing(binary: Path, server_url: str) -> Iterator[Bouncer]:
    """A PgBouncer before the server of ``server_url``, not started yet; ended and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
        bouncer = Bouncer(binary, server_url, Path(folder))
        try:
            yield bouncer
        finally:
            bouncer.kill()
