"""One run of the demo, phase by phase."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from statistics import median
from time import perf_counter
from typing import Optional

import msgspec

from scheduler_repo.cli.output.amounts import count_text, slot_total
from scheduler_repo.cli.output.streams import CommandConsole, say_json
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.process.servers import open_cache_source, open_engine, place_of, require_usable_database
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.demo.display import create_display
from scheduler_repo.demo.servers import DATABASE, SCHEDULER, create_database, keeping_text, starting
from scheduler_repo.demo.summary import DemoResult, SlotUse, TickMilliseconds, summary_table
from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedValkey
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.errors import (
    AlreadyExists,
    InvalidSettings,
    PermissionDenied,
    ScalingGroupAlreadyExists,
)
from scheduler_repo.loop import SchedulerLoop, Tick, TickTimes
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.explain.reasons import waiting_reasons
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.settings import DatabaseSettings, Settings, load_settings
from scheduler_repo.types import ScalingGroupName


class DemoRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo was asked for; servers that ``settings`` do not name are embedded ones."""

    group: ScalingGroupName
    settings: Settings
    # the option or the variable that the database's URL came from
    database_origin: str
    redis_url: Optional[str]
    port: Optional[int]
    keep: bool
    as_json: bool


class DemoRun:
    """One run; what it starts is gone when it ends, unless it was good and is to be kept."""

    def __init__(self, request: DemoRequest, console: CommandConsole, invocation: Invocation) -> None:
        """Starts nothing yet."""
        settings = request.settings
        self._postgres = EmbeddedPostgres(port=request.port) if settings.database is None else None
        needs_valkey = self._postgres is not None and settings.cache is None
        self._valkey = EmbeddedValkey() if needs_valkey else None
        self._settings = settings
        self._request = request
        self._console = console
        self._display = create_display(console)
        self._invocation = invocation
        self._phases: dict[str, float] = {"start": perf_counter() - invocation.started}

    def execute(self, read_cluster: Callable[[], ClusterSpec]) -> int:
        """Do all of it and print the result; returns the exit code, 1 if an agent is overcommitted.

        Raises what any part raises.
        """
        if self._postgres is None:
            self._display.say(
                f"servers: using {place_of(self._database)} from {self._request.database_origin}; "
                "what is loaded stays there"
            )
        # Before anything is started: what cannot be read costs nothing then, and Ctrl-C ends even a read that
        # waits for a pipe.
        with self._phase("input", "reading the cluster"):
            cluster = read_cluster()
        return self._invocation.run(lambda: self._run(cluster))

    async def _run(self, cluster: ClusterSpec) -> int:
        servers = [server for server in (self._postgres, self._valkey) if server is not None]
        async with starting(servers) as started:
            if servers:
                self._invocation.aftermath = "the embedded servers were stopped and removed"
                names = "PostgreSQL" if self._valkey is None else "PostgreSQL and Valkey"
                with self._phase("servers", f"starting {names}"):
                    await started
            else:
                self._invocation.aftermath = "nothing was loaded"
            async with AsyncExitStack() as stack:
                ticks, result, data = await self._load_and_schedule(stack, cluster)
            self._print(ticks, result, data)
            if self._request.keep:
                for server in servers:
                    server.leave_running()
        return 1 if result.overcommitted_agents else 0

    def _print(self, ticks: Sequence[Tick], result: DemoResult, data: SchedulingData) -> None:
        request = self._request
        if request.as_json:
            say_json(msgspec.json.encode(result))
        else:
            self._console.show(summary_table(result, data, _summed([tick.times for tick in ticks])))
        if self._postgres is None:
            self._console.say(
                f"Group {request.group} and all that was loaded with it stay in\n{place_of(self._database)}"
            )
        elif request.keep:
            has_tcp = request.port is not None
            self._console.say(keeping_text(self._postgres, self._valkey, request.group, has_tcp=has_tcp))

    @property
    def _database(self) -> DatabaseSettings:
        """The settings of the database that is used."""
        if self._settings.database is None:
            raise InvalidSettings("there is no database yet; await the embedded servers first")
        return self._settings.database

    @contextmanager
    def _phase(self, name: str, doing: str) -> Iterator[None]:
        """Say what is being done, and note how long it took."""
        self._display.say(f"{name}: {doing}")
        started = perf_counter()
        yield
        self._phases[name] = perf_counter() - started

    async def _open_database(self, stack: AsyncExitStack) -> ExtendedAsyncSAEngine:
        """Make the schema in the embedded database, or make sure that the user's has it."""
        if self._postgres is not None:
            with self._phase("schema", f"creating the database, used as role {SCHEDULER}"):
                await create_database(self._postgres)
            # The other settings, such as timeouts, still come from the environment.
            redis_url = self._request.redis_url if self._valkey is None else self._valkey.url
            self._settings = load_settings(
                database_url=self._postgres.url(DATABASE, SCHEDULER), redis_url=redis_url
            )
            return await stack.enter_async_context(open_engine(self._database))
        stack.enter_context(_advising())
        engine = await stack.enter_async_context(open_engine(self._database))
        with self._phase("schema", f"checking the revision in {place_of(self._database)}"):
            await require_usable_database(engine, self._database, to_write=True)
        return engine

    async def _load_and_schedule(
        self, stack: AsyncExitStack, cluster: ClusterSpec
    ) -> tuple[list[Tick], DemoResult, SchedulingData]:
        """Load the cluster, run the loop until nothing more fits, and count the outcome."""
        engine = await self._open_database(stack)
        db_source = SchedulerDBSource(engine)
        cache = self._settings.cache
        cache_source = await stack.enter_async_context(open_cache_source(cache, db_source, must_answer=True))
        repository = SchedulerRepository(db_source, cache_source)
        agents, sessions = len(cluster.agents), len(cluster.sessions)
        doing = f"{count_text(agents, 'agent')}, {count_text(sessions, 'session')}"
        with self._phase("load", doing), self._display.loading(agents, sessions) as on_progress:
            await ClusterRepository(ClusterDBSource(engine)).load_cluster(cluster, on_progress)
        if self._postgres is None:
            self._invocation.aftermath = f"group {self._request.group} and what was loaded stay in the database"
        with self._phase("loop", f"placing the sessions of group {self._request.group}"):
            ticks, data = await self._schedule(repository)
        overcommitted = await repository.count_overcommitted_agents(self._request.group)
        return ticks, self._result(cluster, ticks, data, overcommitted), data

    async def _schedule(self, repository: SchedulerRepository) -> tuple[list[Tick], SchedulingData]:
        with self._display.scheduling() as watcher:
            loop = SchedulerLoop(repository, BestFitPlanner(), self._request.group, on_batch=watcher.on_batch)
            ticks: list[Tick] = []
            while True:
                watcher.on_begin(len(ticks) + 1)
                tick = await loop.tick()
                watcher.on_tick(tick)
                data = tick.data
                # What a tick saw is large, and only the last one's is of use.
                ticks.append(msgspec.structs.replace(tick, data=_without_rows(data)))
                if not tick.allocated:
                    return ticks, data

    def _result(
        self, cluster: ClusterSpec, ticks: list[Tick], data: SchedulingData, overcommitted: int
    ) -> DemoResult:
        reasons = Counter(waiting.reason.value for waiting in waiting_reasons(data))
        rejected = Counter(rejection.code.value for tick in ticks for rejection in tick.rejected)
        placed = sum(len(tick.allocated) for tick in ticks)
        waiting = len(data.pending_sessions)
        loaded_slots = {slot_type.name for slot_type in cluster.slot_types}
        return DemoResult(
            group=self._request.group,
            sessions=len(cluster.sessions),
            placed=placed,
            waiting=waiting,
            elsewhere=len(cluster.sessions) - placed - waiting,
            waiting_reasons=dict(reasons.most_common()),
            rejected=dict(rejected.most_common()),
            ticks=len(ticks),
            tick_ms=_median_milliseconds([tick.times for tick in ticks]),
            agents=len(cluster.agents),
            overcommitted_agents=overcommitted,
            slots={
                slot_type.name: SlotUse(
                    capacity=slot_total([agent.capacity for agent in data.agents], slot_type.slot_index),
                    occupied=slot_total([agent.occupied for agent in data.agents], slot_type.slot_index),
                )
                for slot_type in data.slot_types
                if slot_type.name in loaded_slots
            },
            phases_s={name: round(seconds, 3) for name, seconds in self._phases.items()},
            total_s=round(perf_counter() - self._invocation.started, 3),
        )


@contextmanager
def _advising() -> Iterator[None]:
    """Say what to do where the user's own database refuses the cluster."""
    try:
        yield
    except PermissionDenied as error:
        raise PermissionDenied(f"{error}; connect as {SCHEDULER}") from error
    except ScalingGroupAlreadyExists as error:
        raise ScalingGroupAlreadyExists(f"{error}; give another name with --group") from error
    except AlreadyExists as error:
        raise type(error)(f"{error}; load this cluster into another database") from error


def _without_rows(data: SchedulingData) -> SchedulingData:
    return msgspec.structs.replace(data, pending_sessions=(), agents=())


def _summed(times: Sequence[TickTimes]) -> TickTimes:
    return TickTimes(
        read=sum(each.read for each in times),
        transform=sum(each.transform for each in times),
        plan=sum(each.plan for each in times),
        write=sum(each.write for each in times),
    )


def _median_milliseconds(times: list[TickTimes]) -> TickMilliseconds:
    def of(seconds: Iterator[float]) -> float:
        return round(median(seconds) * 1000, 3)

    return TickMilliseconds(
        read=of(each.read for each in times),
        transform=of(each.transform for each in times),
        plan=of(each.plan for each in times),
        write=of(each.write for each in times),
    )
