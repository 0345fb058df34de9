"""Suite ``read``: the full read of a tick, a bounded one, and single entities."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Final

from bench.measure.wire import counted_wire
from bench.sides.readers import open_readers
from bench.sides.sessions import session_sides
from bench.suites.suite import Bench, Case, Suite, always, fixed

FULL_READ: Final = "full read"
BOUNDED_READ: Final = "a tenth of the queue"
ONE_SESSION: Final = "one session"


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure reads of one cluster."""
    async with bench.cluster() as loaded, counted_wire(loaded.place.url) as wire:
        counted_place = loaded.place.by_way_of(wire)
        pending = 0
        for name in (FULL_READ, BOUNDED_READ):
            limit = None if name == FULL_READ else max(1, pending // 10)
            async with (
                open_readers(loaded.place, limit) as readers,
                open_readers(counted_place, limit) as counted,
            ):
                data = await readers.read()
                pending = len(data.pending_sessions)
                kernels = sum(len(session.kernels) for session in data.pending_sessions)
                figures = fixed(pending=pending, kernels=kernels, agents=len(data.agents))
                del data
                yield Case(name, readers.sides(), counted.sides(), wire, figures=figures)
        async with AsyncExitStack() as stack:
            sides, counted_sides = [
                await session_sides(stack, place) for place in (loaded.place, counted_place)
            ]
            yield Case(ONE_SESSION, sides, counted_sides, wire)


READ: Final = Suite(
    name="read",
    about="the state of a group, all of it or a part; and one session",
    case_names=always(FULL_READ, BOUNDED_READ, ONE_SESSION),
    cases=cases,
    takes_trace=True,
    turns=15,
)
