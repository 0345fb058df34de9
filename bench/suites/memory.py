"""Suite ``memory``: what a read allocates, and what its answer keeps."""

from collections.abc import AsyncGenerator
from typing import Final

from bench.measure.memory import weigh
from bench.measure.results import ENGINE, LIMIT
from bench.measure.wire import counted_wire
from bench.sides.readers import open_readers
from bench.suites.suite import Bench, Case, Suite, always, fixed

READ: Final = "full read"


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Weigh every side of a read; the times are of runs that are not weighed."""
    async with (
        bench.cluster() as loaded,
        counted_wire(loaded.place.url) as wire,
        open_readers(loaded.place) as readers,
        open_readers(loaded.place.by_way_of(wire)) as counted,
    ):
        pending = len((await readers.read()).pending_sessions)
        sides = {name: side for name, side in readers.sides().items() if name != LIMIT}
        figures: dict[str, float] = {"pending": pending}
        for name, side in sides.items():
            # Once before, so that statements are prepared and caches full.
            await side.run()
            weight = await weigh(side.run)
            prefix = "" if name == ENGINE else f"{name}_"
            figures[f"{prefix}bytes_per_session"] = weight.kept / pending
            figures[f"{prefix}peak_bytes_per_session"] = weight.peak / pending
        yield Case(READ, sides, counted.sides(), wire, figures=fixed(**figures))


MEMORY: Final = Suite(
    name="memory",
    about="what a full read allocates and keeps, per pending session",
    case_names=always(READ),
    cases=cases,
    takes_trace=True,
    turns=5,
)
