"""One profile: its cases one after the other, and the folder at the end."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Optional

from bench.cli.display import AnimatedDisplay, Display
from bench.data.room import require_room
from bench.data.servers import open_server, place_on
from bench.data.sizes import SizeName
from bench.data.trace import TraceFiles
from bench.measure.machine import describe_machine
from bench.profiling.folder import check_folder, write_folder
from bench.profiling.kept import FILE, FORMAT, KIND, CaseProfile, Graphs, Profile
from bench.profiling.own_database import open_own_database
from bench.profiling.pages import make_pages
from bench.profiling.passes import profile_case
from bench.profiling.servers import TracedServer
from bench.profiling.summary import sum_up
from bench.profiling.trace import Trace, TracedPlanner
from bench.suites.suite import Bench, Case, Suite
from scheduler_repo.cli.output.console import CommandConsole
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.terminal import say_json
from scheduler_repo.database.connecting import place_of
from scheduler_repo.database.errors import translated_errors
from scheduler_repo.errors import InvalidInput
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.settings import DatabaseSettings
from scheduler_repo.types import ScalingGroupName

SUMMARY_FILE = "summary.txt"


@dataclass(kw_only=True, eq=False)
class ProfileRun:
    """One profile, with the command's options."""

    invocation: Invocation
    suite: Suite
    size_name: SizeName
    turns: int
    seed: int
    trace: Optional[TraceFiles]
    database: Optional[DatabaseSettings]
    group: Optional[ScalingGroupName]
    case: Optional[str]
    as_json: bool
    output: Path

    def __post_init__(self) -> None:
        self._console = CommandConsole(stderr=self.as_json)
        self._display = AnimatedDisplay(self._console) if self._console.can_animate else Display(self._console)
        self._trace = Trace()
        self._planner = TracedPlanner(BestFitPlanner(), self._trace)

    def execute(self) -> None:
        """Take the profile, write its folder and print its summary."""
        if self.trace is None and self.database is None:
            require_room(self.suite.largest(self.size_name), is_embedded=True)
        check_folder(self.output)
        try:
            profile, graphs = self.invocation.run(self._run)
        finally:
            self._display.stop()
        self._display.say("pages: being written")
        pages = {name: page.encode() for name, page in make_pages(profile, graphs).items()}
        lines = "".join(f"{line}\n" for line in profile.summary)
        kept = {FILE: profile.to_json() + b"\n", SUMMARY_FILE: lines.encode()}
        write_folder(self.output, {**pages, **kept})
        if self.as_json:
            say_json(profile.to_json())
        self._console.say(*profile.summary, f"open {self.output / 'index.html'}")

    async def _run(self) -> tuple[Profile, list[Graphs]]:
        with translated_errors():
            if self.database is not None:
                return await self._read_own(self.database)
            self._display.say("server: starting an embedded PostgreSQL")
            self._be_ready("the embedded server was removed; ")
            async with open_server(None) as server:
                async with place_on(server) as place:
                    machine = await describe_machine(place)
                bench = Bench(
                    server=TracedServer(server, self._trace),
                    size_name=self.size_name,
                    on_loading=self._display.loading,
                    seed=self.seed,
                    trace=self.trace,
                    planner=self._planner,
                    on_redis=self._trace.watch_redis,
                )
                size = "trace" if self.trace is not None else self.size_name.value
                async with aclosing(self.suite.cases(bench)) as cases:
                    return await self._profile(cases, size, "log", machine)

    async def _read_own(self, database: DatabaseSettings) -> tuple[Profile, list[Graphs]]:
        self._display.say(f"server: reading {place_of(database)}")
        self._be_ready("")
        async with open_own_database(database, self.group, self._trace) as own:
            self._display.say(f"group: {own.group}")
            machine = {**await describe_machine(own.place), "scaling_group": str(own.group)}
            async with aclosing(own.cases(self.suite.name, self._planner)) as cases:
                return await self._profile(cases, "your database", "explain", machine)

    def _be_ready(self, clean_up: str) -> None:
        left = "as it was" if self.output.exists() else "not there"
        self.invocation.aftermath = f"{clean_up}{self.output} is {left}"

    async def _profile(
        self, cases: AsyncIterator[Case], size: str, server_clock: str, machine: dict[str, object]
    ) -> tuple[Profile, list[Graphs]]:
        profiles: list[CaseProfile] = []
        graphs: list[Graphs] = []
        seen: list[str] = []
        async for case in cases:
            seen.append(case.name)
            if self.case in (None, case.name):
                on_turn = partial(self._display.on_turn, unit="step")
                found, drawn = await profile_case(case, self._trace, self._planner, self.turns, on_turn)
                profiles.append(found)
                graphs.append(drawn)
                if self.case is not None:
                    break
        if not profiles:
            raise InvalidInput(f"there is no case {self.case!r}; there are {', '.join(map(repr, seen))}")
        profile = Profile(
            kind=KIND,
            format=FORMAT,
            suite=self.suite.name,
            size=size,
            server_clock=server_clock,
            machine=machine,
            summary=sum_up(self.suite.name, size, profiles),
            cases=tuple(profiles),
        )
        return profile, graphs
