"""A PostgreSQL server for tests, benchmarks and a first try, closed to every other account."""

import os
import pwd
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, Optional
from urllib.parse import quote, urlencode

from scheduler_repo.embedded.directory import Account, PrivateDirectory
from scheduler_repo.embedded.installation import copy_postgres, postgres_of_wheel
from scheduler_repo.embedded.server import EmbeddedServer, StopMode
from scheduler_repo.errors import EmbeddedServerError

_DEFAULT_PORT: Final = 5432
_LOOPBACK: Final = "127.0.0.1"
_LOCALES: Final = ("C.UTF-8", "C")
_SETTING_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*")
# ALTER SYSTEM rewrites the settings file, and would write a line break unescaped.
_UNWRITABLE: Final = re.compile(r"[\0\r\n]")
# Who may connect as whom. The server itself asks the system whose the other end of the socket is.
_LOCAL_RULES: Final = """\
local all all peer map=embedded
local replication all peer map=embedded
"""
_HOST_RULES: Final = """\
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
host replication all ::1/128 scram-sha-256
"""
# Before it no map could name all roles; the socket's directory is closed to others anyway.
_MAPS_NAME_ALL_ROLES: Final = 16
_DEFAULT_SETTINGS: Final = {
    "shared_buffers": "256MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
}
_OWN_SETTINGS: Final = frozenset(
    {
        "port",
        "listen_addresses",
        "unix_socket_directories",
        "unix_socket_permissions",
        "data_directory",
        "external_pid_file",
    }
)


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server with the superuser ``postgres``, on a Unix socket that only the caller can reach.

    The caller's account, the server's and root connect without a password, as any role. When root starts it,
    the server runs as ``nobody``: no account is created and no permission is changed, and the programs stay in
    folders that only root can write to.
    """

    _NAME: ClassVar[str] = "PostgreSQL"
    _PREFIX: ClassVar[str] = "scheduler-repo-postgres-"
    _SIGNALS: ClassVar[dict[StopMode, signal.Signals]] = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
    _FIND_ACCOUNT: ClassVar[Callable[[], Account]] = Account.without_privileges

    def __init__(
        self,
        *,
        binaries: Optional[Path] = None,
        port: Optional[int] = None,
        settings: Optional[Mapping[str, str]] = None,
        keep: bool = False,
        parent: Optional[Path] = None,
        start_timeout: float = 60.0,
    ) -> None:
        """Use the wheel's programs unless ``binaries`` names a folder; ``port`` adds TCP, with passwords.

        ``settings`` are written to the data directory once, so that ALTER SYSTEM can change them later.
        ``start_timeout`` (seconds) bounds initdb and each start. Nothing is started yet.
        """
        super().__init__(keep=keep, parent=parent, start_timeout=start_timeout)
        self._wanted_binaries = binaries
        self._binaries: Optional[Path] = None
        self._tcp_port = port
        self._settings = {**_DEFAULT_SETTINGS, **(settings or {})}

    @property
    def port(self) -> int:
        """The TCP port, which is also part of the socket's name; 5432 without TCP."""
        return _DEFAULT_PORT if self._tcp_port is None else self._tcp_port

    @property
    def psql(self) -> Optional[Path]:
        """The psql that came with the server, if any; raises EmbeddedServerError before the first start."""
        if self._binaries is None:
            raise EmbeddedServerError("the path of psql is known once PostgreSQL was started; start it first")
        path = self._binaries / "psql"
        return path if path.is_file() else None

    def url(self, database: str, role: str) -> str:
        """Return the URL of a database through the socket; raises as ``socket_directory`` does."""
        query = urlencode({"host": str(self.socket_directory), "port": str(self.port)}, safe="/")
        return f"postgresql+asyncpg://{quote(role, safe='')}@/{quote(database, safe='')}?{query}"

    def remove(self) -> None:
        self._binaries = None
        super().remove()

    def _check(self) -> None:
        for name, value in self._settings.items():
            if _SETTING_NAME.fullmatch(name) is None or _UNWRITABLE.search(value):
                raise EmbeddedServerError(
                    f"the PostgreSQL setting {name!r} = {value!r} is not a name, or not one line of text"
                )
            if name.lower() in _OWN_SETTINGS:
                raise EmbeddedServerError(
                    f"the PostgreSQL setting {name!r} is kept by the embedded server; leave it out "
                    "(for TCP give port=)"
                )
        folder = self._source_binaries()
        for program in ("postgres", "initdb"):
            if not (folder / program).is_file():
                raise EmbeddedServerError(
                    f"PostgreSQL's programs were to be in {folder}, and {program} is not there (binaries=)"
                )
        if self._tcp_port is not None:
            _check_port(self._tcp_port)

    def _prepare(self, home: PrivateDirectory) -> None:
        home.socket_file(f".s.PGSQL.{self.port}")
        self._binaries = self._usable_binaries(home)
        self._initialise(home, self._binaries)
        _limit_access(home)
        with os.fdopen(home.open_to_append(home.data / "postgresql.auto.conf"), "a", encoding="utf-8") as file:
            for name, value in self._settings.items():
                escaped = value.replace("\\", "\\\\").replace("'", "''")
                file.write(f"{name} = '{escaped}'\n")

    def _command(self, home: PrivateDirectory) -> Sequence[str]:
        if self._binaries is None:
            raise EmbeddedServerError("PostgreSQL has no programs: it was never started, or it was removed")
        own = {
            "listen_addresses": "" if self._tcp_port is None else _LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": '"' + str(home.socket).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
        }
        options = [word for name, value in own.items() for word in ("-c", f"{name}={value}")]
        return [str(self._binaries / "postgres"), "-D", str(home.data), *options]

    def _is_ready(self, home: PrivateDirectory, pid: int) -> bool:
        try:
            lines = home.read_part(home.data / "postmaster.pid").decode(errors="replace").splitlines()
        except FileNotFoundError:
            return False
        # The first line is the process id, as a crash leaves an old file behind; the eighth is the state.
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _may_try_again(self, home: PrivateDirectory, log_offset: int) -> bool:
        # After a SIGKILL of the server its children end a moment later; until then it cannot start again.
        return b"pre-existing shared memory block" in home.log_since(log_offset)

    def _source_binaries(self) -> Path:
        return postgres_of_wheel() if self._wanted_binaries is None else self._wanted_binaries.absolute()

    def _usable_binaries(self, home: PrivateDirectory) -> Path:
        source = self._source_binaries()
        found = source
        if home.owner.uid is not None and not _can_run(home, source):
            found = copy_postgres(source, home.path / "install")
        home.hand_over()
        if _can_run(home, found):
            return found
        raise EmbeddedServerError(
            f"the PostgreSQL programs in {source} cannot be run as {home.owner.name!r}; "
            f"see what {source / 'initdb'} --show says there, or name other binaries (binaries=)"
        )

    def _initialise(self, home: PrivateDirectory, binaries: Path) -> None:
        for locale in _LOCALES:
            offset = home.log.stat().st_size
            status = self._run_initdb(home, binaries, locale)
            if status == 0:
                return
            if b"locale" not in home.log_since(offset):
                break
        raise EmbeddedServerError(
            f"{binaries / 'initdb'} ended with status {status}, and no data directory was made; "
            f"its output ends:\n{home.log_tail()}"
        )

    def _run_initdb(self, home: PrivateDirectory, binaries: Path, locale: str) -> int:
        command = [
            str(binaries / "initdb"),
            f"--pgdata={home.data}",
            "--username=postgres",
            "--encoding=UTF8",
            f"--locale={locale}",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--no-sync",
            "--no-instructions",
        ]
        process = home.spawn(command)
        try:
            return process.wait(self._start_timeout)
        except subprocess.TimeoutExpired as error:
            raise EmbeddedServerError(
                f"initdb did not end within {self._start_timeout:g} s; give it longer (start_timeout=) or see "
                f"its output, which ends:\n{home.log_tail()}"
            ) from error
        finally:
            if process.poll() is None:
                # Kill its whole session: initdb runs a server itself. Not reaped yet, its id is not reused.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _limit_access(home: PrivateDirectory) -> None:
    """Let in who may connect through the socket, by the names of their accounts."""
    if int(home.read_part(home.data / "PG_VERSION")) < _MAPS_NAME_ALL_ROLES:
        return
    accounts = {pwd.getpwuid(uid).pw_name for uid in {0, os.geteuid(), home.data.stat().st_uid}}
    mapped = "".join(f'embedded "{name}" all\n' for name in sorted(accounts))
    for name, text in (("pg_ident.conf", mapped), ("pg_hba.conf", _LOCAL_RULES + _HOST_RULES)):
        with os.fdopen(home.open_to_append(home.data / name, empty=True), "a", encoding="utf-8") as file:
            file.write(text)


def _can_run(home: PrivateDirectory, binaries: Path) -> bool:
    # This checks the server, its version and its share folder, and creates nothing.
    command = [str(binaries / "initdb"), "--show", f"--pgdata={home.data}"]
    return home.owner.can_run(command, directory=Path("/"))


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise EmbeddedServerError(f"PostgreSQL was to listen on port {port}; a port is 1 to 65535")
    with socket.socket(socket.AF_INET) as probe:
        # The server does the same: connections that ended a moment ago do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError as error:
            raise EmbeddedServerError(
                f"PostgreSQL was to listen on {_LOOPBACK}:{port}, which cannot be had ({error.strerror}); "
                "give another port, or none for the socket alone"
            ) from error
