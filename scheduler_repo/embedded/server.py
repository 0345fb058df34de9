"""The base of both embedded servers: a private directory, one child process, and their clean-up."""

import abc
import atexit
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final, Literal, Optional, Self

from scheduler_repo.embedded.directory import Account, PrivateDirectory
from scheduler_repo.embedded.lifeline import Lifeline
from scheduler_repo.errors import EmbeddedServerError
from scheduler_repo.quoting import get_logger

StopMode = Literal["fast", "immediate"]

_POLL_SECONDS: Final = 0.01
_STOP_SECONDS: Final = 30.0
_LOGGER: Final = get_logger(__name__)


class EmbeddedServer(abc.ABC):
    """One server in a private directory, reached through a Unix socket; see its two subclasses.

    The block of ``with server:`` starts it, and at the end stops it and deletes its directory (unless
    ``keep``). Not for several threads at once.
    """

    _NAME: ClassVar[str]
    _PREFIX: ClassVar[str]
    _SIGNALS: ClassVar[dict[StopMode, signal.Signals]]
    _FIND_ACCOUNT: ClassVar[Callable[[], Account]] = Account.of_caller

    def __init__(self, *, keep: bool, parent: Optional[Path], start_timeout: float) -> None:
        """Put the private directory in the folder ``parent``; ``start_timeout`` is in seconds."""
        self.keep = keep
        self._parent = parent
        self._start_timeout = start_timeout
        self._home: Optional[PrivateDirectory] = None
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._lifeline: Optional[Lifeline] = None
        self._owner_pid = 0

    @abc.abstractmethod
    def _check(self) -> None:
        """Raise EmbeddedServerError, before anything is created, for settings that cannot work."""

    @abc.abstractmethod
    def _prepare(self, home: PrivateDirectory) -> None:
        """Fill a new private directory."""

    @abc.abstractmethod
    def _command(self, home: PrivateDirectory) -> Sequence[str]:
        """Return the server's command line."""

    @abc.abstractmethod
    def _is_ready(self, home: PrivateDirectory, pid: int) -> bool:
        """Return whether the server with this process id accepts connections now."""

    def _may_try_again(self, home: PrivateDirectory, log_offset: int) -> bool:
        """Return whether a server that ended while starting may be started again at once."""
        return False

    def start(self) -> None:
        """Start the server, with the data of an earlier start if there are any.

        Raises EmbeddedServerError, with the end of the server's log. A failed first start leaves nothing
        behind; a failed later start leaves the data unchanged.
        """
        if self.running:
            raise EmbeddedServerError(
                f"{self._NAME} runs already (pid {self.pid}); stop it first, or use restart"
            )
        self._release()
        is_first = self._home is None
        try:
            self._check()
            home = self._create() if self._home is None else self._home
            self._launch(home)
        except BaseException as error:
            self.stop("immediate")
            if is_first:
                self.remove()
            if isinstance(error, OSError):
                raise EmbeddedServerError(f"{self._NAME} cannot be started: {error}") from error
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and keep the data: ``fast`` shuts down cleanly, ``immediate`` as in a crash.

        Does nothing if the server does not run. Kills a server that does not end within 30 seconds, and raises
        EmbeddedServerError if it survives that.
        """
        if self._is_forked_copy():
            return
        process = self._process
        if process is not None and process.poll() is None:
            for number in (self._SIGNALS[mode], self._SIGNALS["immediate"], signal.SIGKILL):
                process.send_signal(number)
                # A stopped process does not act on the others.
                process.send_signal(signal.SIGCONT)
                try:
                    process.wait(_STOP_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    _LOGGER.warning("%s outlived %s by %s s", self._NAME, number.name, _STOP_SECONDS)
            else:
                raise EmbeddedServerError(
                    f"{self._NAME} (pid {process.pid}) was killed and has not ended; look at what holds it"
                )
        self._release()

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop, then start with the same data; raises as both do."""
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Stop the server and delete its directory; raises EmbeddedServerError if that cannot be done."""
        if self._is_forked_copy():
            return
        self.stop("immediate")
        home, self._home = self._home, None
        atexit.unregister(self._finish)
        if home is not None:
            home.remove()

    def leave_running(self) -> None:
        """Leave the server running after this process ends; the caller has to stop it.

        Its directory stays too, and this object is as before its first start. Raises EmbeddedServerError if the
        server does not run.
        """
        if self._is_forked_copy():
            return
        _ = self.directory, self.pid
        self._release()
        self._home = None
        atexit.unregister(self._finish)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()

    @property
    def running(self) -> bool:
        """Whether the server's process is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id; raises EmbeddedServerError while it does not run."""
        if self._process is None or not self.running:
            raise EmbeddedServerError(f"{self._NAME} does not run, so it has no process id; start it first")
        return self._process.pid

    @property
    def directory(self) -> Path:
        """The private directory; raises EmbeddedServerError before the first start and after ``remove``."""
        return self._existing_home().path

    @property
    def socket_directory(self) -> Path:
        """The directory of the server's Unix socket; raises as ``directory`` does."""
        return self._existing_home().socket

    @property
    def log_file(self) -> Path:
        """The server's log; raises as ``directory`` does."""
        return self._existing_home().log

    def _existing_home(self) -> PrivateDirectory:
        if self._home is None:
            raise EmbeddedServerError(f"{self._NAME} has no directory: it was never started, or it was removed")
        return self._home

    def _create(self) -> PrivateDirectory:
        self._home = home = PrivateDirectory.create(self._PREFIX, type(self)._FIND_ACCOUNT(), self._parent)
        self._owner_pid = os.getpid()
        atexit.register(self._finish)
        self._prepare(home)
        return home

    def _launch(self, home: PrivateDirectory) -> None:
        deadline = time.monotonic() + self._start_timeout
        command = self._command(home)
        while True:
            log_offset = home.log.stat().st_size
            self._process = process = home.spawn(command)
            self._lifeline = Lifeline.attach(
                process, self._SIGNALS["immediate"], None if self.keep else home.path
            )
            while process.poll() is None:
                if self._is_ready(home, process.pid):
                    return
                if time.monotonic() >= deadline:
                    raise EmbeddedServerError(
                        f"{self._NAME} was not ready within {self._start_timeout:g} s; give it longer "
                        f"(start_timeout=) or see its log, which ends:\n{home.log_tail()}"
                    )
                time.sleep(_POLL_SECONDS)
            if time.monotonic() >= deadline or not self._may_try_again(home, log_offset):
                raise EmbeddedServerError(
                    f"{self._NAME} ended with status {process.returncode} while starting "
                    f"({command[0]}); its log ends:\n{home.log_tail()}"
                )
            self._release()
            time.sleep(_POLL_SECONDS)

    def _release(self) -> None:
        lifeline, self._lifeline, self._process = self._lifeline, None, None
        if lifeline is not None:
            lifeline.release()

    def _finish(self) -> None:
        if self.keep:
            self.stop()
        else:
            self.remove()

    def _is_forked_copy(self) -> bool:
        # A fork inherits this object and its exit handler, but must not stop the parent's server.
        return self._home is not None and os.getpid() != self._owner_pid
