"""The console script: one command, and an exit code for whatever comes of it."""

import sys

from scheduler_repo.cli.invocation import Interrupted, Invocation
from scheduler_repo.cli.secret_arguments import hide_secret_urls


def main() -> int:
    """Run one command and return the exit code.

    0 done, 1 an error that is said in one line, 2 wrong usage, 128 + n ended by signal n. What nobody foresaw
    is said in one line too, by the exception hook, and ends with 1.
    """
    invocation = Invocation()
    try:
        invocation.watch_signals()
        hide_secret_urls()
        # Everything else loads after the signals are watched and the secrets are hidden.
        from scheduler_repo.cli.failure import run_reporting_failures

        return run_reporting_failures(invocation)
    except Interrupted as interruption:
        print(f"\nerror: {interruption}", file=sys.stderr)
        return interruption.exit_code


if __name__ == "__main__":
    sys.exit(main())
