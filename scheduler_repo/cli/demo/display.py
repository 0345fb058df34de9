"""Shows a run of the demo while it happens: animated on a terminal, plain lines in a pipe."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, Protocol

from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scheduler_repo.cli.output.console import CommandConsole, plain_table
from scheduler_repo.loop import BatchProgress, Tick, TickTimes

# Called with the numbers of agents and sessions loaded so far.
LoadProgress = Callable[[int, int], None]

_SHOWN_TICKS: Final = 10
_TENTHS: Final = 10
_COLUMNS: Final = ("tick", "pending", "planned", "placed", "rejected", "read", "transform", "plan", "write")


class TickWatcher(Protocol):
    """Is told when a tick begins, when a batch of it is written, and when it is done."""

    def on_begin(self, number: int) -> None: ...

    def on_batch(self, progress: BatchProgress) -> None: ...

    def on_tick(self, tick: Tick) -> None: ...


class Display:
    """Writes plain lines."""

    def __init__(self, console: CommandConsole) -> None:
        """Write to ``console``."""
        self._console = console
        self.say = console.say

    @contextmanager
    def loading(self, agents: int, sessions: int) -> Iterator[LoadProgress]:
        """Show the progress of loading this many, here by a line for each tenth."""
        tenths = _Tenths(agents + sessions)

        def on_progress(agents_done: int, sessions_done: int) -> None:
            if tenths.is_new(agents_done + sessions_done):
                self.say(
                    f"load: {agents_done:,} of {agents:,} agents, {sessions_done:,} of {sessions:,} sessions"
                )

        yield on_progress

    def scheduling(self) -> AbstractContextManager[TickWatcher]:
        """Show the ticks, here by a line for each and for each tenth of one."""
        return nullcontext(_PlainTicks(self.say))


class AnimatedDisplay(Display):
    """Redraws bars and a table in place."""

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
        """Show a table of the last ticks."""
        with Live(_lay_out_ticks([]), console=self._console) as live:
            yield _AnimatedTicks(live)


def create_display(console: CommandConsole) -> Display:
    """Choose the animated display on a terminal that can redraw, else plain lines."""
    return AnimatedDisplay(console) if console.can_animate else Display(console)


class _Tenths:
    """Tells when another tenth of the way is done, so that a long way makes a short log."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._seen = 0

    def is_new(self, done: int) -> bool:
        tenth = done * _TENTHS // self._total if self._total else _TENTHS
        is_new = tenth > self._seen
        self._seen = tenth
        return is_new


class _PlainTicks:
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
        read, transform, plan, write = _milliseconds(tick.times)
        pending = len(tick.data.pending_sessions)
        self._say(
            f"tick {tick.number}: {len(tick.allocated):,} placed of {pending:,} pending, "
            f"{len(tick.rejected):,} rejected; "
            f"read {read}, transform {transform}, plan {plan}, write {write} ms"
        )


class _AnimatedTicks:
    def __init__(self, live: Live) -> None:
        self._live = live
        self._rows: list[tuple[str, ...]] = []

    def on_begin(self, number: int) -> None:
        self._rows = [*self._rows[-_SHOWN_TICKS + 1 :], (str(number), "...", "...", "0", "0")]
        self._live.update(_lay_out_ticks(self._rows))

    def on_batch(self, progress: BatchProgress) -> None:
        self._replace_last(
            progress.tick_number,
            progress.pending + progress.allocated,
            progress.planned,
            progress.allocated,
            progress.rejected,
        )

    def on_tick(self, tick: Tick) -> None:
        placed, rejected = len(tick.allocated), len(tick.rejected)
        times = [f"{milliseconds} ms" for milliseconds in _milliseconds(tick.times)]
        pending = len(tick.data.pending_sessions)
        self._replace_last(tick.number, pending, placed + rejected, placed, rejected, *times)

    def _replace_last(self, number: int, *cells: int | str) -> None:
        self._rows[-1] = (str(number), *(cell if isinstance(cell, str) else f"{cell:,}" for cell in cells))
        self._live.update(_lay_out_ticks(self._rows))


def _lay_out_ticks(rows: list[tuple[str, ...]]) -> Table:
    return plain_table(rows, _COLUMNS, range(len(_COLUMNS)))


def _milliseconds(times: TickTimes) -> list[str]:
    return [f"{each * 1000:,.0f}" for each in (times.read, times.transform, times.plan, times.write)]
