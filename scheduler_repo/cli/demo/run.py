"""One run of the demo, phase by phase."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Optional

import msgspec

from scheduler_repo.cli.demo.display import AnimatedDisplay, Display
from scheduler_repo.cli.demo.summary import DemoResult, SlotUse, describe_kept_servers, lay_out_summary
from scheduler_repo.cli.options import require_database
from scheduler_repo.cli.output.amounts import format_count, sum_slot
from scheduler_repo.cli.output.console import CommandConsole
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.process.servers import open_cache_source
from scheduler_repo.cli.terminal import say_json
from scheduler_repo.database.connecting import open_database, place_of
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedValkey
from scheduler_repo.embedded.ready import DATABASE, SCHEDULER, create_database, starting
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.errors import AlreadyExists, PermissionDenied, ScalingGroupAlreadyExists
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.loop.tick import Tick, TickTimes
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.scheduling.explain.reasons import waiting_reasons
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.settings import CacheSettings, Settings, load_settings
from scheduler_repo.types import ScalingGroupName


@dataclass(kw_only=True, eq=False)
class DemoRun:
    """One run, with the demo's options. Servers that ``settings`` do not name are embedded ones.

    At the end they are stopped and removed, unless the run succeeded and is to keep them.
    """

    invocation: Invocation
    console: CommandConsole
    group: ScalingGroupName
    settings: Settings
    # The option or the variable that the database's URL came from.
    database_origin: str
    redis_url: Optional[str]
    port: Optional[int]
    keep: bool
    # How many sessions come before each tick; None for all of them before the first.
    per_tick: Optional[int]
    full_reads: bool
    as_json: bool

    def __post_init__(self) -> None:
        database = self.settings.database
        self._postgres = EmbeddedPostgres(port=self.port) if database is None else None
        needs_valkey = database is None and self.settings.cache is None
        self._valkey = EmbeddedValkey() if needs_valkey else None
        self._display = AnimatedDisplay(self.console) if self.console.can_animate else Display(self.console)
        self._phases = {"start": perf_counter() - self.invocation.started}

    def execute(self, read_cluster: Callable[[], ClusterSpec]) -> int:
        """Run all phases and print the result; return the exit code, 1 if an agent is overcommitted."""
        database = self.settings.database
        if database is not None:
            place, origin = place_of(database), self.database_origin
            self._display.say(f"servers: using {place} from {origin}; what is loaded stays there")
        # Before the servers start and outside the event loop: bad input costs nothing then, and Ctrl-C ends
        # even a read that waits for a pipe.
        with self._phase("input", "reading the cluster"):
            cluster = read_cluster()
        return self.invocation.run(lambda: self._run(cluster))

    async def _run(self, cluster: ClusterSpec) -> int:
        servers = [server for server in (self._postgres, self._valkey) if server is not None]
        async with starting(servers) as started:
            self.invocation.aftermath = "nothing was loaded"
            if self._postgres is not None:
                self.invocation.aftermath = "the embedded servers were stopped and removed"
                names = "PostgreSQL" if self._valkey is None else "PostgreSQL and Valkey"
                with self._phase("servers", f"starting {names}"):
                    await started
            async with self._open_engine() as (engine, cache):
                ticks, data, overcommitted = await self._load_and_schedule(engine, cache, cluster)
            result = self._result(cluster, ticks, data, overcommitted)
            if self.as_json:
                say_json(msgspec.json.encode(result))
            else:
                self.console.show(lay_out_summary(result, data, _combine(ticks, sum)))
            if self._postgres is None:
                place = place_of(require_database(self.settings))
                self.console.say(f"Group {self.group} and all that was loaded with it stay in", place)
            elif self.keep:
                has_tcp = self.port is not None
                how = describe_kept_servers(self._postgres, self._valkey, self.group, has_tcp=has_tcp)
                self.console.say(*how.split("\n"))
                for server in servers:
                    server.leave_running()
        return 1 if overcommitted else 0

    @contextmanager
    def _phase(self, name: str, doing: str) -> Iterator[None]:
        """Print what is being done, and note how long it took."""
        self._display.say(f"{name}: {doing}")
        started = perf_counter()
        yield
        self._phases[name] = perf_counter() - started

    @asynccontextmanager
    async def _open_engine(self) -> AsyncIterator[tuple[ExtendedAsyncSAEngine, Optional[CacheSettings]]]:
        """Open the user's database, or create the embedded one; yield the engine and the cache's settings."""
        settings = self.settings
        if self._postgres is None:
            doing = f"checking the revision in {place_of(require_database(settings))}"
        else:
            doing = f"creating the database, used as role {SCHEDULER}"
        async with AsyncExitStack() as stack:
            with self._phase("schema", doing):
                if self._postgres is None:
                    stack.enter_context(_add_advice())
                else:
                    await create_database(self._postgres)
                    # The other settings, such as timeouts, still come from the environment.
                    url = self._postgres.url(DATABASE, SCHEDULER)
                    redis_url = self.redis_url if self._valkey is None else self._valkey.url
                    settings = load_settings(database_url=url, redis_url=redis_url)
                opened = open_database(require_database(settings), to_write=True)
                engine = await stack.enter_async_context(opened)
            yield engine, settings.cache

    async def _load_and_schedule(
        self, engine: ExtendedAsyncSAEngine, cache: Optional[CacheSettings], cluster: ClusterSpec
    ) -> tuple[list[Tick], SchedulingData, int]:
        """Load the cluster and run the loop; return its ticks, the last data and the overcommitted agents."""
        db_source = SchedulerDBSource(engine)
        async with open_cache_source(cache, db_source, must_answer=True) as cache_source:
            repository = SchedulerRepository(db_source, cache_source)
            at_once = cluster
            if self.per_tick is not None:
                at_once = msgspec.structs.replace(cluster, sessions=())
            agents, sessions = len(cluster.agents), len(at_once.sessions)
            doing = f"{format_count(agents, 'agent')}, {format_count(sessions, 'session')}"
            with self._phase("load", doing), self._display.loading(agents, sessions) as on_progress:
                await ClusterRepository(ClusterDBSource(engine)).load_cluster(at_once, on_progress)
            if self._postgres is None:
                self.invocation.aftermath = f"group {self.group} and what was loaded stay in the database"
            with self._phase("loop", f"placing the sessions of group {self.group}"):
                later = cluster.sessions[len(at_once.sessions) :]
                ticks, data = await self._schedule(
                    repository, SessionRepository(SessionDBSource(engine)), later
                )
            return ticks, data, await repository.count_overcommitted_agents(self.group)

    async def _schedule(
        self, repository: SchedulerRepository, sessions: SessionRepository, later: Sequence[SessionCreationSpec]
    ) -> tuple[list[Tick], SchedulingData]:
        """Run ticks until all have come and nothing more fits; return them, and the last one's data."""
        come = 0
        ticks: list[Tick] = []
        display = self._display
        with display.scheduling():
            loop = SchedulerLoop(
                repository,
                BestFitPlanner(),
                self.group,
                on_batch=display.on_batch,
                full_reads=self.full_reads,
            )
            while True:
                if self.per_tick is not None and come < len(later):
                    await sessions.enqueue_sessions(later[come : come + self.per_tick])
                    come += self.per_tick
                display.on_begin(len(ticks) + 1)
                tick = await loop.tick()
                display.on_tick(tick)
                # A tick's data is large, and only the last one's is needed.
                emptied = msgspec.structs.replace(tick.data, pending_sessions=(), agents=())
                ticks.append(msgspec.structs.replace(tick, data=emptied))
                if not tick.allocated and come >= len(later):
                    return ticks, tick.data

    def _result(
        self, cluster: ClusterSpec, ticks: list[Tick], data: SchedulingData, overcommitted: int
    ) -> DemoResult:
        reasons = Counter(waiting.reason.value for waiting in waiting_reasons(data))
        rejected = Counter(rejection.code.value for tick in ticks for rejection in tick.rejected)
        placed, waiting = sum(len(tick.allocated) for tick in ticks), len(data.pending_sessions)
        medians = msgspec.structs.asdict(_combine(ticks, median))
        loaded_slots = {slot_type.name for slot_type in cluster.slot_types}
        capacities = [agent.capacity for agent in data.agents]
        occupied = [agent.occupied for agent in data.agents]
        return DemoResult(
            group=self.group,
            sessions=len(cluster.sessions),
            placed=placed,
            waiting=waiting,
            elsewhere=len(cluster.sessions) - placed - waiting,
            waiting_reasons=dict(reasons.most_common()),
            rejected=dict(rejected.most_common()),
            ticks=len(ticks),
            tick_ms={part: round(seconds * 1000, 3) for part, seconds in medians.items()},
            agents=len(cluster.agents),
            overcommitted_agents=overcommitted,
            slots={
                each.name: SlotUse(
                    capacity=sum_slot(capacities, each.slot_index), occupied=sum_slot(occupied, each.slot_index)
                )
                for each in data.slot_types
                if each.name in loaded_slots
            },
            phases_s={name: round(seconds, 3) for name, seconds in self._phases.items()},
            total_s=round(perf_counter() - self.invocation.started, 3),
        )


@contextmanager
def _add_advice() -> Iterator[None]:
    """Add to the errors of the user's own database what to do about them."""
    try:
        yield
    except PermissionDenied as error:
        raise error.with_message(error.found, f"connect as {SCHEDULER}") from error
    except ScalingGroupAlreadyExists as error:
        raise error.with_message(error.found, "give another name with --group") from error
    except AlreadyExists as error:
        raise error.with_message(error.found, "load this cluster into another database") from error


def _combine(ticks: Iterable[Tick], combine: Callable[[Iterable[float]], float]) -> TickTimes:
    parts = zip(*(msgspec.structs.astuple(tick.times) for tick in ticks), strict=True)
    return TickTimes(*map(combine, parts))
