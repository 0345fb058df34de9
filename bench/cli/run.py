"""One run: suites one after the other, on one server."""

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Optional

from bench.cli.display import AnimatedDisplay, Display
from bench.cli.tables import LEGEND, lay_out_cases, lay_out_figures
from bench.data.room import require_room
from bench.data.servers import open_server
from bench.data.sizes import SizeName
from bench.data.trace import TraceFiles
from bench.measure.results import SuiteResult
from bench.report.scales import write_milliseconds
from bench.suites.runner import run_suite
from bench.suites.suite import Bench, Suite
from bench.thresholds import find_missed, load_thresholds
from scheduler_repo.cli.output.console import CommandConsole
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.terminal import say_json
from scheduler_repo.database.connecting import place_of
from scheduler_repo.database.errors import translated_errors
from scheduler_repo.settings import DatabaseSettings


@dataclass(kw_only=True, eq=False)
class BenchRun:
    """One run, with the command's options."""

    invocation: Invocation
    suites: list[Suite]
    size_name: SizeName
    turns: Optional[int]
    seed: int
    trace: Optional[TraceFiles]
    database: Optional[DatabaseSettings]
    beside_other_data: bool
    output: Optional[Path]
    as_json: bool = False
    check: bool = False
    shows_tables: bool = True
    results: list[SuiteResult] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._console = CommandConsole(stderr=self.as_json)
        self._clean_up = ""
        self._display = AnimatedDisplay(self._console) if self._console.can_animate else Display(self._console)

    def execute(self) -> int:
        """Run all suites and print their results; return the exit code, 1 if a threshold is missed."""
        if self.trace is None:
            for suite in self.suites:
                require_room(suite.largest(self.size_name), is_embedded=self.database is None)
        if self.output is not None:
            self.output.mkdir(parents=True, exist_ok=True)
        try:
            return self.invocation.run(self._run)
        finally:
            self._display.stop()

    async def _run(self) -> int:
        if self.database is None:
            self._display.say("server: starting an embedded PostgreSQL")
            self._clean_up = "the embedded server was removed"
        else:
            self._display.say(f"server: using {place_of(self.database)}, in a schema of its own")
            self._clean_up = "the schema was dropped"
        self.invocation.aftermath = f"{self._clean_up}; nothing was kept"
        missed: list[str] = []
        with translated_errors():
            async with open_server(self.database, beside_other_data=self.beside_other_data) as server:
                bench = Bench(
                    server=server,
                    size_name=self.size_name,
                    on_loading=self._display.loading,
                    seed=self.seed,
                    trace=self.trace,
                )
                for number, suite in enumerate(self.suites, 1):
                    self._announce(suite, number)
                    result = await run_suite(suite, bench, self.turns, self._display.on_turn)
                    self.results.append(result)
                    self._keep(result)
                    self._show(result)
                    missed += find_missed(load_thresholds(), result) if self.check else []
        for line in missed:
            self._console.say(f"missed: {line}")
        if self.check and not missed:
            self._console.say("all thresholds that hold at this size are kept")
        return 1 if missed else 0

    def _announce(self, suite: Suite, number: int) -> None:
        """Say which suite begins; of several, where the run stands."""
        place = ""
        if len(self.suites) > 1:
            minutes = (perf_counter() - self.invocation.started) / 60
            place = f" ({number} of {len(self.suites)}, {minutes:.1f} min so far)"
        self._display.say(f"suite {suite.name}{place}", f"  {suite.about}")

    def _keep(self, result: SuiteResult) -> None:
        if self.output is not None:
            path = self.output / f"{result.suite}.json"
            write_whole(path, result.to_json() + b"\n")
            self.invocation.aftermath = f"{self._clean_up}; what was measured before is in {self.output}"

    def _show(self, result: SuiteResult) -> None:
        if self.as_json:
            say_json(result.to_json())
            return
        if not self.shows_tables:
            medians = ((case.name, case.engine.median_ms) for case in result.cases)
            self._console.say(*(f"  {name}: {write_milliseconds(median)}" for name, median in medians))
            return
        self._console.show(lay_out_cases(result))
        self._console.show(lay_out_figures(result))
        self._console.say(*LEGEND)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole, or as it was before."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
