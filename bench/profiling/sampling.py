"""The flame graph: where a call's time goes by functions, sampled by pyinstrument.

It samples from inside the process, so it needs no right to trace others, and it follows a task over its awaits,
on uvloop too. A thread that plans is sampled by a profiler of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from pyinstrument import Profiler
from pyinstrument.frame import Frame

from bench.profiling.frames import FrameNode, shown_path, trimmed
from scheduler_repo.entities.allocation import SessionAllocation

_INTERVAL_SECONDS: Final = 0.0005
_MILLISECONDS: Final = 1000
_AWAITS: Final = frozenset({"[await]", "[out-of-context]"})
# What a function takes itself shows as what its calls leave.
_OWN: Final = frozenset({"[self]"})
WAITING: Final = "waiting"
EVENT_LOOP, PLANNER = "The event loop's thread", "The planner's thread"


class Sampler:
    """Samples one thread for as long as it is told to, several times."""

    def __init__(self) -> None:
        """Nothing is sampled yet."""
        self._loop = Profiler(interval=_INTERVAL_SECONDS, async_mode="enabled", use_timing_thread=True)
        self._planner = Profiler(interval=_INTERVAL_SECONDS, async_mode="disabled", use_timing_thread=True)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Sample the task that enters this."""
        self._loop.start()
        try:
            yield
        finally:
            self._loop.stop()

    def around_plan(self, work: Callable[[], Sequence[SessionAllocation]]) -> Sequence[SessionAllocation]:
        """Sample a plan in the thread that makes it."""
        self._planner.start()
        try:
            return work()
        finally:
            self._planner.stop()

    def trees(self, turns: int, parts: float) -> dict[str, FrameNode]:
        """Return what was sampled in ``turns`` turns, in milliseconds of one: by thread, those that ran."""
        found = {}
        for thread, profiler in ((EVENT_LOOP, self._loop), (PLANNER, self._planner)):
            session = profiler.last_session
            root = None if session is None else session.root_frame(trim_stem=False)
            if root is not None:
                tree = FrameNode("all", "", 0.0, [])
                _add(tree, root, _MILLISECONDS * parts / turns)
                found[thread] = trimmed(tree)
        return found


def _add(parent: FrameNode, frame: Frame, factor: float) -> None:
    """Add a frame with all below it to the calls of another; of the same function there is one."""
    if frame.function in _OWN:
        return
    if frame.function in _AWAITS:
        node = parent.child(WAITING, "")
    else:
        name = f"{frame.class_name}.{frame.function}" if frame.class_name else frame.function
        node = parent.child(
            name, shown_path(frame.file_path or "") + (f":{frame.line_no}" if frame.line_no else "")
        )
    node.amount += frame.time * factor
    for child in frame.children:
        _add(node, child, factor)
