"""The console script: one command, and an exit code for whatever comes of it."""

import os
import sys

from scheduler_repo.cli.process.invocation import Interrupted, Invocation
from scheduler_repo.cli.process.secret_arguments import hide_secret_urls


def main() -> int:
    """Run one command and return the exit code.

    0 done, 1 an error that is said in one line, 2 wrong usage, 128 + n ended by signal n. What nobody foresaw
    is said in one line too, by the exception hook, and ends with 1.
    """
    invocation = Invocation()
    try:
        invocation.watch_signals()
        _open_missing_streams()
        hide_secret_urls()
        # Everything else loads after the signals are watched and the secrets are hidden.
        from scheduler_repo.cli.process.failure import run_reporting_failures

        return run_reporting_failures(invocation)
    except Interrupted as interruption:
        print(f"error: {interruption}", file=sys.stderr)
        return interruption.exit_code


def _open_missing_streams() -> None:
    """Lead streams that the parent has closed (``>&-``) nowhere, before a socket gets their numbers."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123


if __name__ == "__main__":
    sys.exit(main())
