"""A suite: cases, each with its sides, on clusters that it loads."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Optional, Protocol

import msgspec
import redis.asyncio as redis_asyncio

from bench.data.cluster import DEFAULT_SEED, Shape
from bench.data.load import ClusterLoader
from bench.data.place import Place
from bench.data.servers import BenchServer, place_on
from bench.data.sizes import SIZES, ClusterSize, SizeName
from bench.data.trace import TraceFiles, load_trace
from bench.measure.results import CaseResult
from bench.measure.turns import Side, Times
from bench.measure.wire import CountedWire
from scheduler_repo.errors import InvalidInput
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.planner.protocol import Planner
from scheduler_repo.types import ScalingGroupName, SessionStatus

Figures = Mapping[str, float]
# Works the figures of a case out from its times and from the cases that were measured before it.
FigureMaker = Callable[[Mapping[str, Times], Mapping[str, CaseResult]], Figures]


class Case(msgspec.Struct, frozen=True):
    """One thing that is measured: its sides, and the same sides by way of ``wire``, to count what they send."""

    name: str
    sides: Mapping[str, Side]
    counted: Mapping[str, Side] = {}
    wire: Optional[CountedWire] = None
    turns: Optional[int] = None
    figures: FigureMaker = lambda times, earlier: {}


class OnLoading(Protocol):
    """Shows how many sessions of how many are loaded, while its block runs."""

    def __call__(self, what: str, total: int) -> AbstractAsyncContextManager[Callable[[int], None]]:
        """Begin to load ``total`` sessions."""
        ...


class LoadedCluster(msgspec.Struct, frozen=True):
    """A cluster that is loaded; ``loader`` adds to it, but not to a trace's."""

    place: Place
    loader: Optional[ClusterLoader]
    on_loading: OnLoading

    async def add(self, status: SessionStatus, count: int, group: Optional[ScalingGroupName] = None) -> None:
        """Add sessions of a status to one group, or shared out among all; raises InvalidInput for a trace's."""
        if self.loader is None:
            raise InvalidInput("a trace has the sessions that it has; add to a synthetic cluster")
        async with self.on_loading(f"more {status.lower()} sessions", count) as on_loaded:
            await self.loader.add(status, count, group, on_loaded)


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """The server that a suite runs on, the size, seed or trace of its clusters, and who plans in its ticks.

    ``on_redis`` gets each client of Redis that the engine's side is given.
    """

    server: BenchServer
    size_name: SizeName
    on_loading: OnLoading
    seed: int = DEFAULT_SEED
    trace: Optional[TraceFiles] = None
    planner: Planner = msgspec.field(default_factory=BestFitPlanner)
    on_redis: Callable[[redis_asyncio.Redis], None] = lambda client: None

    @property
    def size(self) -> ClusterSize:
        """The size of the cluster that is asked for."""
        return SIZES[self.size_name]

    def shape(self, size: Optional[ClusterSize] = None) -> Shape:
        """Return the shape of a cluster of a size, the one that is asked for unless another is given."""
        return Shape(self.size if size is None else size, seed=self.seed)

    @asynccontextmanager
    async def cluster(self, shape: Optional[Shape] = None) -> AsyncIterator[LoadedCluster]:
        """Load a cluster, the trace's if there is one and no shape is given; remove it at the end."""
        async with place_on(self.server) as place:
            if shape is None and self.trace is not None:
                await load_trace(place, self.trace, self.on_loading)
                yield LoadedCluster(place, None, self.on_loading)
                return
            chosen = self.shape() if shape is None else shape
            loader = ClusterLoader(place, chosen)
            async with self.on_loading("sessions", chosen.size.sessions) as on_loaded:
                await loader.load(on_loaded)
            yield LoadedCluster(place, loader, self.on_loading)


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """A named list of cases.

    ``case_names`` says beforehand, by size, which cases ``cases`` yields, in their order. ``largest`` is the
    largest cluster that it loads at a size. ``turns`` are those of a case that says nothing else.
    ``not_profiled`` says why a profile of it would show nothing, and what to profile instead.
    """

    name: str
    about: str
    case_names: Callable[[SizeName], tuple[str, ...]]
    cases: Callable[[Bench], AsyncGenerator[Case, None]]
    largest: Callable[[SizeName], ClusterSize] = SIZES.__getitem__
    takes_trace: bool = False
    turns: int = 11
    not_profiled: Optional[str] = None


def fixed(**figures: float) -> FigureMaker:
    """Name figures that are known before anything is timed."""
    return lambda times, earlier: figures


def always(*names: str) -> Callable[[SizeName], tuple[str, ...]]:
    """Name the cases of a suite that has the same at every size."""
    return lambda size: names
