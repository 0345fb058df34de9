"""Two small trace files that a test may spoil."""

from pathlib import Path

import pytest

from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.errors import InvalidTrace
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.workload.trace import read_trace

GROUP = ScalingGroupName("openb")
NODE_HEADER = "sn,cpu_milli,memory_mib,gpu,model"
POD_HEADER = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,creation_time"
NODE = "n0,32000,1024,2,T4"
POD = "p0,1000,512,1,460,,LS,7"


class TraceFolder:
    """Two files that a test fills; both are valid until it does."""

    def __init__(self, folder: Path) -> None:
        self.nodes = folder / "nodes.csv"
        self.pods = folder / "pods.csv"
        self.write_nodes(NODE)
        self.write_pods(POD)

    def write_nodes(self, *rows: str, header: str = NODE_HEADER) -> None:
        self.nodes.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8", newline="")

    def write_pods(self, *rows: str, header: str = POD_HEADER) -> None:
        self.pods.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8", newline="")

    def read(self) -> ClusterSpec:
        return read_trace(self.nodes, self.pods, GROUP)

    def refusal(self) -> str:
        with pytest.raises(InvalidTrace) as caught:
            self.read()
        return str(caught.value)


def pod(
    name: str = "p1",
    cpu: str = "1000",
    mem: str = "512",
    gpus: str = "1",
    milli: str = "460",
    spec: str = "",
    qos: str = "LS",
    created: str = "7",
) -> str:
    return ",".join((name, cpu, mem, gpus, milli, spec, qos, created))
