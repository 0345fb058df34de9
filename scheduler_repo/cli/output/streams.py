"""Where the commands write: a terminal, a pipe, or stderr beside JSON on stdout."""

import sys
from typing import Final

from rich.console import Console, RenderableType

from scheduler_repo.cli.process.invocation import OutputFailed

_UNBOUNDED: Final = 100_000


class CommandConsole(Console):
    """Writes text as it is given: no markup, no emoji, no colours of its own choice."""

    def __init__(self, *, stderr: bool = False) -> None:
        """Take stdout, or stderr."""
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    @property
    def can_animate(self) -> bool:
        """Whether a person watches, on a terminal that can redraw lines."""
        return self.file.isatty() and self.is_interactive and not self.is_dumb_terminal

    def on_broken_pipe(self) -> None:
        """Let the command clean up before it ends."""
        raise BrokenPipeError

    def say(self, text: str) -> None:
        """Write one line, not wrapped, so that it can be copied and searched; raises OutputFailed."""
        try:
            self.print(text, soft_wrap=True)
        except OSError as error:
            raise OutputFailed from error

    def show(self, page: RenderableType) -> None:
        """Write tables, wrapped for a terminal alone; raises OutputFailed."""
        if self.file.isatty():
            self.print(page)
            return
        # A pipe gets long lines whole, and no spaces that fill them.
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
