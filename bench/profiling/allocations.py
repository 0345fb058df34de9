"""The allocation graph: what a call holds at its peak, by who allocated it, recorded by memray."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Final

from memray import FileDestination, FileFormat, FileReader, Tracker

from bench.profiling.frames import FrameNode, shown_path, trimmed

# On uvloop the driver is called by the loop with no Python function around it, and nothing else is.
DECODING: Final = ("the driver, reading answers", "called by the event loop")


class AllocationRecorder:
    """Records the allocations of one call, those of small objects too."""

    def __init__(self) -> None:
        """Nothing is recorded yet."""
        self.tree = FrameNode("all", "")

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what is allocated while the block runs; afterwards ``tree`` has its peak, in bytes."""
        with tempfile.TemporaryDirectory(prefix="scheduler-repo-profile-") as folder:
            path = Path(folder) / "allocations.bin"
            tracker = Tracker(
                destination=FileDestination(path, compress_on_exit=False),
                trace_python_allocators=True,
                file_format=FileFormat.AGGREGATED_ALLOCATIONS,
            )
            with ExitStack() as stack:
                # It says on stderr that greenlets are new to it.
                with redirect_stderr(StringIO()):
                    stack.enter_context(tracker)
                yield
            self.tree = trimmed(_read(path))


def _read(path: Path) -> FrameNode:
    root = FrameNode("all", "", 0.0, [])
    with FileReader(path) as reader:
        for record in reader.get_high_watermark_allocation_records(merge_threads=True):
            stack = [
                (name, f"{shown_path(file)}:{line}") for name, file, line in reversed(record.stack_trace())
            ]
            root.add(stack or [DECODING], record.size)
    return root
