"""What the tests of the workloads share."""

from pathlib import Path

import pytest

from tests.workload.trace_folder import TraceFolder


@pytest.fixture
def trace(tmp_path: Path) -> TraceFolder:
    return TraceFolder(tmp_path)
