"""Where the trace of a production cluster lies, which the package does not contain; and small ones like it."""

import os
from pathlib import Path

import pytest

_VARIABLE = "SCHEDULER_REPO_TEST_TRACE_DIR"


def trace_directory() -> Path:
    """Return the directory of nodes.csv and pods.csv: the one that the environment names, or the usual one."""
    named = os.environ.get(_VARIABLE)
    return Path(named) if named else Path(__file__).parents[3] / "shared/data/openb"


def write_trace(folder: Path, nodes: int, pods: int) -> tuple[Path, Path]:
    """Write a trace of nodes of 32 cores each, and of pods of four cores; return its two files."""
    nodes_file, pods_file = folder / "nodes.csv", folder / "pods.csv"
    rows = "".join(f"node-{number},32000,262144,0,\n" for number in range(nodes))
    nodes_file.write_text(f"sn,cpu_milli,memory_mib,gpu,model\n{rows}")
    header = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,creation_time\n"
    pods_file.write_text(header + "".join(f"pod-{number:03},4000,1024,0,0,,LS,0\n" for number in range(pods)))
    return nodes_file, pods_file


def _is_absent() -> bool:
    # A directory that was named is meant: without a trace in it, the tests fail.
    if os.environ.get(_VARIABLE):
        return False
    return not all((trace_directory() / name).is_file() for name in ("nodes.csv", "pods.csv"))


needs_trace = pytest.mark.skipif(
    _is_absent(),
    reason=f"no nodes.csv and pods.csv in {trace_directory()}; name their directory in {_VARIABLE}",
)
