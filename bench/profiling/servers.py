"""The harness's own server: engines on its places are traced, and its databases say how long messages take."""

from functools import partial

import msgspec

from bench.data.place import Place
from bench.data.servers import BenchServer
from bench.profiling.trace import SAY_DURATIONS, Trace

# Each message says its duration to the client that asks for it, and the server's log gets none of them.
_DURATIONS = ("log_duration = on", "log_min_messages = panic")


class TracedServer:
    """Makes places as another server does, and traces the engines that are opened on them."""

    def __init__(self, server: BenchServer, trace: Trace) -> None:
        """``server`` is one on which a superuser administers the places."""
        self._server = server
        self._trace = trace
        self.description = server.description

    async def make_place(self) -> Place:
        place = await self._server.make_place()
        async with place.administering() as driver:
            database = await driver.fetchval("SELECT quote_ident(current_database())")
            for setting in _DURATIONS:
                await driver.execute(f"ALTER DATABASE {database} SET {setting}")
        return msgspec.structs.replace(place, on_engine=partial(self._trace.watch, SAY_DURATIONS))

    async def remove_place(self, place: Place) -> None:
        await self._server.remove_place(place)
