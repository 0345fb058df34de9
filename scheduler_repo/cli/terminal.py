"""The one place where a command writes what a person reads, on stdout or stderr.

A text from a database, a file, a server or an argument may hold anything. What is written here is shown as it
is on any terminal, and a line stays one line: nothing moves the cursor, and no name looks like a message.
"""

import sys

from scheduler_repo.quoting import visible, visible_json

# Before each line of a text of several lines that is not the command's own.
QUOTE_MARK = "| "


class OutputFailed(Exception):
    """Stdout or stderr cannot be written to; the OSError with the reason is the cause.

    Not an OSError itself, as the database layer would translate that into an error of its own.
    """


def say(*lines: str, to_stderr: bool = False) -> None:
    """Write each text as one line, at once; raises OutputFailed."""
    stream = sys.stderr if to_stderr else sys.stdout
    try:
        stream.writelines(f"{visible(line)}\n" for line in lines)
        stream.flush()
    except OSError as error:
        raise OutputFailed from error


def say_error(text: str) -> None:
    """Write what went wrong, as one line on stderr; raises OutputFailed."""
    say(f"error: {text}", to_stderr=True)


def say_json(encoded: bytes) -> None:
    """Write one JSON value to stdout, at once; raises OutputFailed."""
    try:
        sys.stdout.write(visible_json(encoded.decode()) + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise OutputFailed from error


def write_file_to_pipe(packed: bytes) -> None:
    """Write a file to stdout as it is, for a program that reads it; raises OutputFailed."""
    try:
        sys.stdout.buffer.write(packed)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputFailed from error


def quote_lines(text: str) -> list[str]:
    """Mark each line of a text of several lines, so that none of them looks like the command's own."""
    return [f"{QUOTE_MARK}{line}" for line in text.split("\n")]
