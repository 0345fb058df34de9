"""Where the commands write: a terminal, a pipe, or stderr beside JSON on stdout."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Optional, Union

from rich.console import Console, HighlighterType, JustifyMethod, OverflowMethod, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from scheduler_repo.cli.terminal import OutputFailed
from scheduler_repo.quoting import visible

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

    def render_str(
        self,
        text: str,
        *,
        style: Union[str, Style] = "",
        justify: Optional[JustifyMethod] = None,
        overflow: Optional[OverflowMethod] = None,
        emoji: Optional[bool] = None,
        markup: Optional[bool] = None,
        highlight: Optional[bool] = None,
        highlighter: Optional[HighlighterType] = None,
    ) -> Text:
        """Return a text as it is shown. Every one passes here, in whatever table, before it is measured."""
        return super().render_str(
            visible(text),
            style=style,
            justify=justify,
            overflow=overflow,
            emoji=emoji,
            markup=markup,
            highlight=highlight,
            highlighter=highlighter,
        )

    def say(self, *lines: str) -> None:
        """Write each text as one line, not wrapped, to be copied and searched; raises OutputFailed."""
        try:
            for line in lines:
                self.print(line, soft_wrap=True)
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
        self.say(*(line.rstrip() for line in capture.get().split("\n")[:-1]))


def stack(*lines: str) -> Text:
    """Put texts below each other in one cell."""
    return Text("\n".join(visible(line) for line in lines))


def plain_table(
    rows: Iterable[Sequence[Union[str, Text]]], header: Sequence[str] = ("", ""), numbers: Collection[int] = ()
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
