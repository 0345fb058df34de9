"""Where the trace of a production cluster lies, which the package does not contain."""

import os
from pathlib import Path

import pytest

_VARIABLE = "SCHEDULER_REPO_TEST_TRACE_DIR"


def trace_directory() -> Path:
    """Return the directory of nodes.csv and pods.csv: the one that the environment names, or the usual one."""
    named = os.environ.get(_VARIABLE)
    return Path(named) if named else Path(__file__).parents[3] / "shared/data/openb"


def _is_absent() -> bool:
    # A directory that was named is meant: without a trace in it, the tests fail.
    if os.environ.get(_VARIABLE):
        return False
    return not all((trace_directory() / name).is_file() for name in ("nodes.csv", "pods.csv"))


needs_trace = pytest.mark.skipif(
    _is_absent(),
    reason=f"no nodes.csv and pods.csv in {trace_directory()}; name their directory in {_VARIABLE}",
)
