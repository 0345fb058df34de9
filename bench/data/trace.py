"""The trace of a real cluster, from its two CSV files, as the cluster that is measured."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bench.data.cluster import GROUP
from bench.data.load import load_spec
from bench.data.place import Place
from scheduler_repo.workload.trace import read_trace

if TYPE_CHECKING:
    from bench.suites.suite import OnLoading


class TraceFiles(msgspec.Struct, frozen=True):
    """Where the lists of nodes and of tasks lie; scheduler_repo/workload says which columns they have."""

    nodes: Path
    pods: Path


async def load_trace(place: Place, files: TraceFiles, on_loading: "OnLoading") -> None:
    """Load a trace: each task waits in the queue, and nothing runs yet. Raises InvalidTrace."""
    cluster = read_trace(files.nodes, files.pods, GROUP)
    async with on_loading("tasks of the trace", len(cluster.sessions)) as on_loaded:
        await load_spec(place, cluster, on_loaded)
    await place.run_as_owner("VACUUM (ANALYZE)")
