"""Shows a run of the demo while it happens: animated for a person, plain lines for a pipe."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Optional, Protocol

import msgspec
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scheduler_repo.cli.output.streams import CommandConsole
from scheduler_repo.loop import BatchProgress, Tick, TickTimes

# (agents, sessions) loaded so far
LoadProgress = Callable[[int, int], None]
_SHOWN_TICKS: Final = 10
_TENTHS: Final = 10


class TickWatcher(Protocol):
    """Is told of each tick as it goes."""

    def on_begin(self, number: int) -> None:
        """Tick ``number`` begins to read."""

    def on_batch(self, progress: BatchProgress) -> None:
        """A batch of it was written."""

    def on_tick(self, tick: Tick) -> None:
        """It is done."""


class DemoDisplay(Protocol):
    """One way to show a run."""

    def say(self, line: str) -> None:
        """Show a line that stays."""

    def loading(self, agents: int, sessions: int) -> AbstractContextManager[LoadProgress]:
        """Show how far the loading of so many is."""

    def scheduling(self) -> AbstractContextManager[TickWatcher]:
        """Show the ticks."""


def create_display(console: CommandConsole) -> DemoDisplay:
    """Choose by whether a person watches."""
    return AnimatedDisplay(console) if console.can_animate else PlainDisplay(console)


class _Tenths:
    """Lets a line through for each tenth of the way, so that a long way makes no long log."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._seen = 0

    def is_new(self, done: int) -> bool:
        tenth = done * _TENTHS // self._total if self._total else _TENTHS
        is_new = tenth > self._seen
        self._seen = tenth
        return is_new


class PlainDisplay:
    """Lines alone."""

    def __init__(self, console: CommandConsole) -> None:
        """Take where to write."""
        self._console = console

    def say(self, line: str) -> None:
        """Write a line."""
        self._console.say(line)

    @contextmanager
    def loading(self, agents: int, sessions: int) -> Iterator[LoadProgress]:
        """Write a line for each tenth."""
        tenths = _Tenths(agents + sessions)

        def on_progress(agents_done: int, sessions_done: int) -> None:
            if tenths.is_new(agents_done + sessions_done):
                self.say(
                    f"load: {agents_done:,} of {agents:,} agents, {sessions_done:,} of {sessions:,} sessions"
                )

        yield on_progress

    @contextmanager
    def scheduling(self) -> Iterator[TickWatcher]:
        """Write a line for each tick, and for each tenth of one."""
        yield _PlainWatcher(self.say)


class _PlainWatcher:
    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._tenths = _Tenths(0)
        self._number = 0

    def on_begin(self, number: int) -> None:
        self._say(f"tick {number}: reading and planning")

    def on_batch(self, progress: BatchProgress) -> None:
        if progress.tick_number != self._number:
            self._number, self._tenths = progress.tick_number, _Tenths(progress.planned)
        done = progress.allocated + progress.rejected
        if self._tenths.is_new(done) and done < progress.planned:
            self._say(f"tick {progress.tick_number}: {done:,} of {progress.planned:,} planned are written")

    def on_tick(self, tick: Tick) -> None:
        times = tick.times
        pending = len(tick.data.pending_sessions)
        self._say(
            f"tick {tick.number}: {len(tick.allocated):,} placed of {pending:,} pending, "
            f"{len(tick.rejected):,} rejected; read {_ms(times.read)}, transform {_ms(times.transform)}, "
            f"plan {_ms(times.plan)}, write {_ms(times.write)} ms"
        )


class _Row(msgspec.Struct):
    number: int
    pending: Optional[int] = None
    planned: Optional[int] = None
    placed: int = 0
    rejected: int = 0
    times: Optional[TickTimes] = None


class AnimatedDisplay(PlainDisplay):
    """Bars and a table that change in place."""

    @contextmanager
    def loading(self, agents: int, sessions: int) -> Iterator[LoadProgress]:
        """Show two bars."""
        columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as bars:
            agents_bar = bars.add_task("agents", total=agents)
            sessions_bar = bars.add_task("sessions", total=sessions)

            def on_progress(agents_done: int, sessions_done: int) -> None:
                bars.update(agents_bar, completed=agents_done)
                bars.update(sessions_bar, completed=sessions_done)

            yield on_progress

    @contextmanager
    def scheduling(self) -> Iterator[TickWatcher]:
        """Show a table with a row for each of the last ticks."""
        with Live(_tick_table([]), console=self._console) as live:
            yield _AnimatedWatcher(live)


class _AnimatedWatcher:
    def __init__(self, live: Live) -> None:
        self._live = live
        self._rows: list[_Row] = []

    def on_begin(self, number: int) -> None:
        self._rows = [*self._rows[-_SHOWN_TICKS + 1 :], _Row(number)]
        self._show()

    def on_batch(self, progress: BatchProgress) -> None:
        row = self._rows[-1]
        row.pending = progress.pending + progress.allocated
        row.planned = progress.planned
        row.placed, row.rejected = progress.allocated, progress.rejected
        self._show()

    def on_tick(self, tick: Tick) -> None:
        row = self._rows[-1]
        row.pending = len(tick.data.pending_sessions)
        row.placed, row.rejected = len(tick.allocated), len(tick.rejected)
        row.planned = row.placed + row.rejected
        row.times = tick.times
        self._show()

    def _show(self) -> None:
        self._live.update(_tick_table(self._rows))


def _tick_table(rows: list[_Row]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("tick", "pending", "planned", "placed", "rejected", "read", "transform", "plan", "write"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        counts = [_count(each) for each in (row.pending, row.planned, row.placed, row.rejected)]
        times = row.times
        parts = [] if times is None else [times.read, times.transform, times.plan, times.write]
        table.add_row(str(row.number), *counts, *(f"{_ms(part)} ms" for part in parts))
    return table


def _count(number: Optional[int]) -> str:
    return "..." if number is None else f"{number:,}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}"
