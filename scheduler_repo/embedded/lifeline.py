"""Ends a server whose Python process died without ending it.

This file runs as a script, in a session of its own, with the reading end of a pipe, the server's pidfd, the
signal that ends it and the directory to delete, if any. Only the Python process holds the writing end: a byte
means that the server has ended, end of file that the process is gone. A pidfd, unlike a process id, never names
a later process; PR_SET_PDEATHSIG would act at the end of a thread already.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Optional

_GRACE_MILLISECONDS = 20_000


class Lifeline:
    """A process that watches over a server, and the writing end of the pipe that it waits on."""

    def __init__(self, watcher: subprocess.Popen[bytes], pipe: int) -> None:
        self._watcher = watcher
        self._pipe = pipe

    @classmethod
    def attach(
        cls, server: subprocess.Popen[bytes], ending: signal.Signals, doomed: Optional[Path]
    ) -> Optional["Lifeline"]:
        """Start to watch a running child; return None where there is no pidfd, or no Python to run."""
        if sys.platform != "linux" or not sys.executable:
            return None
        try:
            server_fd = os.pidfd_open(server.pid)
        except OSError:
            return None
        reading, writing = os.pipe()
        command = [sys.executable, "-I", "-S", __file__, str(reading), str(server_fd), str(int(ending))]
        try:
            watcher = subprocess.Popen(
                [*command, *([] if doomed is None else [str(doomed)])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                pass_fds=(reading, server_fd),
            )
        except OSError:
            os.close(writing)
            return None
        finally:
            os.close(reading)
            os.close(server_fd)
        return cls(watcher, writing)

    def release(self) -> None:
        """End the watcher; the server has ended."""
        try:
            os.write(self._pipe, b".")
        except BrokenPipeError:
            pass  # it is gone already
        finally:
            os.close(self._pipe)
        self._watcher.wait()


def watch(pipe: int, server: int, ending: signal.Signals, doomed: Optional[Path]) -> None:
    """Wait for the pipe; at its end of file, end the server and delete ``doomed``."""
    if sys.platform != "linux" or os.read(pipe, 1):
        return
    for number in (ending, signal.SIGCONT, signal.SIGKILL):
        try:
            signal.pidfd_send_signal(server, number)
        except ProcessLookupError:
            break
        if number is not ending:
            poll = select.poll()
            poll.register(server, select.POLLIN)
            poll.poll(_GRACE_MILLISECONDS)
    if doomed is not None:
        shutil.rmtree(doomed, ignore_errors=True)


if __name__ == "__main__":
    watch(
        int(sys.argv[1]),
        int(sys.argv[2]),
        signal.Signals(int(sys.argv[3])),
        Path(sys.argv[4]) if len(sys.argv) > 4 else None,
    )
