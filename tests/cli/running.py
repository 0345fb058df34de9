"""A command that runs until it is stopped: what it says, what it answers, and its end."""

import signal
import urllib.request
from urllib.error import HTTPError

from tests.support.command import Ended, Started
from tests.support.waiting import PATIENCE


def read_until(process: Started, mark: str) -> str:
    """Read stderr up to a line that has the mark."""
    assert process.stderr is not None
    said = ""
    while mark not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return said


def end_with(process: Started, number: signal.Signals) -> Ended:
    """Send a signal and wait for the end; what was not read before is returned."""
    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    return Ended(process.wait(PATIENCE), output, errors)


def asked(url: str) -> tuple[int, str]:
    """Ask a server of the command; return the status and the text."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - the URL is the test's own
            return answer.status, str(answer.read().decode())
    except HTTPError as error:
        return error.code, error.read().decode()
