"""Where the commands write: a terminal, a pipe, or stderr beside JSON on stdout."""

from typing import Never

from rich.console import Console


class CommandConsole(Console):
    """Writes text as it is given: no markup, no emoji, no colours of its own choice."""

    def __init__(self, *, stderr: bool = False) -> None:
        """Take stdout, or stderr."""
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    @property
    def can_animate(self) -> bool:
        """Whether a person watches, on a terminal that can redraw lines."""
        return self.file.isatty() and self.is_interactive and not self.is_dumb_terminal

    def on_broken_pipe(self) -> Never:
        """Let the command clean up and end quietly."""
        raise BrokenPipeError

    def say(self, text: str) -> None:
        """Write one line, not wrapped, so that it can be copied and searched."""
        self.print(text, soft_wrap=True)
