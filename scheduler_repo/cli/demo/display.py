"""Shows a run of the demo while it happens: animated on a terminal, plain lines in a pipe."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scheduler_repo.cli.output.console import CommandConsole, plain_table
from scheduler_repo.loop.tick import BatchProgress, Tick, TickTimes

# Called with the numbers of agents and sessions loaded so far.
LoadProgress = Callable[[int, int], None]

_SHOWN_TICKS: Final = 10
_TENTHS: Final = 10
_COLUMNS: Final = ("tick", "pending", "planned", "placed", "rejected", "read", "transform", "plan", "write")


class Display:
    """Writes plain lines: one for each tenth of the loading, for each tick and for each tenth of one."""

    def __init__(self, console: CommandConsole) -> None:
        self._console = console
        self.say = console.say
        self._tenth = 0

    @contextmanager
    def loading(self, agents: int, sessions: int) -> Iterator[LoadProgress]:
        """Show the progress of loading this many."""

        def on_progress(agents_done: int, sessions_done: int) -> None:
            if self._is_new_tenth(agents_done + sessions_done, agents + sessions):
                self.say(
                    f"load: {agents_done:,} of {agents:,} agents, {sessions_done:,} of {sessions:,} sessions"
                )

        self._tenth = 0
        yield on_progress

    def scheduling(self) -> AbstractContextManager[object]:
        """Show what ``on_begin``, ``on_batch`` and ``on_tick`` are told within the block."""
        return nullcontext()

    def on_begin(self, number: int) -> None:
        self._tenth = 0
        self.say(f"tick {number}: reading and planning")

    def on_batch(self, progress: BatchProgress) -> None:
        done = progress.allocated + progress.rejected
        if self._is_new_tenth(done, progress.planned) and done < progress.planned:
            self.say(f"tick {progress.tick_number}: {done:,} of {progress.planned:,} planned are written")

    def on_tick(self, tick: Tick) -> None:
        read, transform, plan, write = _milliseconds(tick.times)
        pending = len(tick.data.pending_sessions)
        self.say(
            f"tick {tick.number}: {len(tick.allocated):,} placed of {pending:,} pending, "
            f"{len(tick.rejected):,} rejected; "
            f"read {read}, transform {transform}, plan {plan}, write {write} ms"
        )

    def _is_new_tenth(self, done: int, total: int) -> bool:
        before, self._tenth = self._tenth, done * _TENTHS // total if total else _TENTHS
        return self._tenth > before


class AnimatedDisplay(Display):
    """Redraws in place: two bars for the loading, and a table of the last ticks."""

    def __init__(self, console: CommandConsole) -> None:
        super().__init__(console)
        self._rows: list[tuple[str, ...]] = []
        self._live = Live(_lay_out_ticks([]), console=console)

    @contextmanager
    def loading(self, agents: int, sessions: int) -> Iterator[LoadProgress]:
        columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as bars:
            agents_bar = bars.add_task("agents", total=agents)
            sessions_bar = bars.add_task("sessions", total=sessions)

            def on_progress(agents_done: int, sessions_done: int) -> None:
                bars.update(agents_bar, completed=agents_done)
                bars.update(sessions_bar, completed=sessions_done)

            yield on_progress

    def scheduling(self) -> AbstractContextManager[object]:
        return self._live

    def on_begin(self, number: int) -> None:
        self._rows = [*self._rows[-_SHOWN_TICKS + 1 :], ()]
        self._replace_last(str(number), "...", "...", "0", "0")

    def on_batch(self, progress: BatchProgress) -> None:
        placed = progress.allocated
        counts = (progress.pending + placed, progress.planned, placed, progress.rejected)
        self._replace_last(str(progress.tick_number), *(f"{count:,}" for count in counts))

    def on_tick(self, tick: Tick) -> None:
        placed, rejected = len(tick.allocated), len(tick.rejected)
        counts = (len(tick.data.pending_sessions), placed + rejected, placed, rejected)
        times = (f"{milliseconds} ms" for milliseconds in _milliseconds(tick.times))
        self._replace_last(str(tick.number), *(f"{count:,}" for count in counts), *times)

    def _replace_last(self, *cells: str) -> None:
        self._rows[-1] = cells
        self._live.update(_lay_out_ticks(self._rows))


def _lay_out_ticks(rows: list[tuple[str, ...]]) -> Table:
    return plain_table(rows, _COLUMNS, range(len(_COLUMNS)))


def _milliseconds(times: TickTimes) -> list[str]:
    return [f"{each * 1000:,.0f}" for each in (times.read, times.transform, times.plan, times.write)]
