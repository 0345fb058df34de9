"""Where the commands write: a terminal, a pipe, or stderr beside JSON on stdout."""

import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from rich.console import Console, RenderableType
from rich.table import Table

from scheduler_repo.cli.process.invocation import OutputFailed

_UNBOUNDED: Final = 100_000


class CommandConsole(Console):
    """Writes text as it is given: no markup, no emoji, no highlighting."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    @property
    def can_animate(self) -> bool:
        """Whether this is a terminal that can redraw lines."""
        return self.file.isatty() and self.is_interactive and not self.is_dumb_terminal

    def on_broken_pipe(self) -> None:
        # The command cleans up at this error; rich would end the process.
        raise BrokenPipeError

    def say(self, text: str) -> None:
        """Write one line, not wrapped, so that it can be copied and searched; raises OutputFailed."""
        try:
            self.print(text, soft_wrap=True)
        except OSError as error:
            raise OutputFailed from error

    def show(self, page: RenderableType) -> None:
        """Write tables; wrap them on a terminal, write whole lines to a pipe. Raises OutputFailed."""
        if self.file.isatty():
            self.print(page)
            return
        self.width = _UNBOUNDED
        with self.capture() as capture:
            self.print(page)
        for line in capture.get().splitlines():
            self.say(line.rstrip())


def say_json(encoded: bytes) -> None:
    """Write one line to stdout; raises OutputFailed."""
    try:
        sys.stdout.write(encoded.decode() + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise OutputFailed from error


def plain_table(
    rows: Iterable[Sequence[str]], header: Sequence[str] = ("", ""), numbers: Collection[int] = ()
) -> Table:
    """Lay out rows without lines; ``numbers`` are the columns to align right, an empty header is not shown.

    A cell that is too long for the terminal is folded, never cut.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(header))
    for position, name in enumerate(header):
        table.add_column(name, justify="right" if position in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
