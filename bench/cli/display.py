"""Shows a run while it happens: animated on a terminal, plain lines in a pipe."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scheduler_repo.cli.output.amounts import format_count
from scheduler_repo.cli.output.console import CommandConsole

_TENTHS: Final = 10


class Display:
    """Writes plain lines: one for each tenth of the loading, and one for each case."""

    def __init__(self, console: CommandConsole) -> None:
        """Write to a console."""
        self._console = console
        self.say = console.say

    def loading(self, what: str, total: int) -> AbstractAsyncContextManager[Callable[[int], None]]:
        """Show how many of ``total`` are loaded, while the block runs."""
        return self._loading(what, total)

    def on_turn(self, case: str, done: int, total: int, unit: str = "turn") -> None:
        """Show that a case has had ``done`` of its turns, or of what else ``unit`` names."""
        if done == 0:
            self.say(f"{case}: {format_count(total, unit)}")

    def stop(self) -> None:
        """Leave the terminal as it was."""

    @asynccontextmanager
    async def _loading(self, what: str, total: int) -> AsyncIterator[Callable[[int], None]]:
        tenth = 0

        def on_loaded(done: int) -> None:
            nonlocal tenth
            before, tenth = tenth, done * _TENTHS // total if total else _TENTHS
            if tenth > before:
                self.say(f"load: {done:,} of {total:,} {what}")

        yield on_loaded


class AnimatedDisplay(Display):
    """Redraws in place: a bar for the loading, and one for the turns of a case."""

    def __init__(self, console: CommandConsole) -> None:
        """Write to a console on a terminal."""
        super().__init__(console)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=console, transient=True)

    def on_turn(self, case: str, done: int, total: int, unit: str = "turn") -> None:
        if done == 0:
            self._bars.start()
            for task in self._bars.task_ids:
                self._bars.remove_task(task)
            self._bars.add_task(case, total=total)
        self._bars.update(self._bars.task_ids[0], completed=done)
        if done == total:
            self.stop()

    def stop(self) -> None:
        self._bars.stop()

    @asynccontextmanager
    async def _loading(self, what: str, total: int) -> AsyncIterator[Callable[[int], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as bars:
            bar = bars.add_task(f"loading {what}", total=total)
            yield lambda done: bars.update(bar, completed=done)
