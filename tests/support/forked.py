"""Processes forked from one that has loaded what they need, so that a start does not cost the imports.

A process has the modules that are loaded there, and nothing of the tests' own process.
"""

import importlib
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, Final, Optional, TextIO, TypeAlias

Stream: TypeAlias = "Connection[Any, Any]"

_PROCESSES: Final = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    [
        "scheduler_repo.cli.commands.demo",
        "scheduler_repo.connection",
        "scheduler_repo.database.connecting",
        "scheduler_repo.database.schema.upgrade",
        "tests.handoff.program",
        "tests.lease.leader",
        "tests.loop.program",
        "tests.races.racer",
        "uvloop",
    ]
)


class Forked:
    """A process, told and asked as ``subprocess.Popen`` is; it ends with the tests at the latest."""

    stdout: Optional[TextIO] = None
    stderr: Optional[TextIO] = None

    def __init__(self, work: Callable[..., object], *arguments: object) -> None:
        """Have it call a function of a module with arguments that can be pickled."""
        self._process = _PROCESSES.Process(target=work, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> Optional[int]:
        """The exit code, as far as it has been asked for; below zero if a signal ended it."""
        return self._process.exitcode

    def poll(self) -> Optional[int]:
        """The exit code if it has ended."""
        return self._process.exitcode

    def wait(self, timeout: Optional[float] = None) -> int:
        """Wait until it has ended; raises TimeoutError."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"process {self.pid} has not ended within {timeout:g} s")
        return self._process.exitcode

    def communicate(self, timeout: Optional[float] = None) -> tuple[str, str]:
        """Read both streams to their ends, and wait until it has ended."""
        assert self.stdout is not None
        assert self.stderr is not None
        errors: list[str] = []
        stderr = self.stderr
        reader = Thread(target=lambda: errors.append(stderr.read()), daemon=True)
        reader.start()
        output = self.stdout.read()
        reader.join(timeout)
        self.wait(timeout)
        for stream in (self.stdout, self.stderr):
            stream.close()
        return output, "".join(errors)

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork_main(module: str, arguments: tuple[str, ...], connection: socket.socket) -> Forked:
    """Fork a process that calls the ``main`` of a module; it reads and writes the socket."""
    return Forked(_call_main, module, arguments, connection)


def fork_command(
    module: str, arguments: tuple[str, ...], environment: Mapping[str, str], terminal: Optional[int] = None
) -> Forked:
    """Fork what ``python -m module`` starts, with pipes for both streams, or with all three on a terminal."""
    if terminal is not None:
        with Connection(os.dup(terminal)) as stream:
            return Forked(_run_module, module, arguments, dict(environment), [stream] * 3)
    (output, its_output), (errors, its_errors) = (Pipe(duplex=False) for _ in range(2))
    with its_output, its_errors, Connection(os.open(os.devnull, os.O_RDONLY)) as nothing:
        forked = Forked(_run_module, module, arguments, dict(environment), [nothing, its_output, its_errors])
    with output, errors:
        forked.stdout, forked.stderr = (
            open(os.dup(each.fileno()), encoding="utf-8")  # noqa: PTH123, SIM115
            for each in (output, errors)
        )
    return forked


def _call_main(module: str, arguments: tuple[str, ...], connection: socket.socket) -> None:
    with connection:
        sys.stdin, sys.stdout = connection.makefile("r"), connection.makefile("w")
    importlib.import_module(module).main(*arguments)
    sys.stdout.flush()


def _run_module(
    module: str, arguments: tuple[str, ...], environment: dict[str, str], streams: list[Stream]
) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
    for stream in streams:
        stream.close()
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
