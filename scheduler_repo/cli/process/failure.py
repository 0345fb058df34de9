"""Turns whatever a command raises into one line on stderr and an exit code."""

import io
import logging
import os
import re
import sys
import traceback
from types import TracebackType
from typing import Final, Optional

import click

from scheduler_repo.cli.process.invocation import Interrupted, Invocation, OutputFailed
from scheduler_repo.errors import SchedulerRepoError

_PASSWORD_IN_URL: Final = re.compile(r"(\w://[^\s:/?#@]*):\S*@")
_SECRET_OPTION: Final = re.compile(r"([?&]\w*password=)[^\s&'\")]*", re.IGNORECASE)


def run_reporting_failures(command: click.Command, invocation: Invocation) -> int:
    """Run the command that the arguments name, report failures on stderr, and return the exit code."""

    def report_unforeseen(kind: type[BaseException], error: BaseException, _: Optional[TracebackType]) -> None:
        hint = "" if invocation.debug else "; run it again with --debug for the traceback, and report it"
        _say(f"unexpected {kind.__name__}: {error}{hint}", error, invocation, 1)

    sys.excepthook = report_unforeseen
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Escape a name that the terminal's encoding lacks instead of failing.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = command.main(prog_name="scheduler-repo", standalone_mode=False, obj=invocation)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        path = "scheduler-repo" if error.ctx is None else error.ctx.command_path
        message = error.format_message()
        stop = "" if message.endswith((".", "?")) else "."
        return _say(f"{message}{stop} See '{path} --help'.", error, invocation, error.exit_code)
    except click.ClickException as error:
        return _say(error.format_message(), error, invocation, error.exit_code)
    except SchedulerRepoError as error:
        return _say(str(error), error, invocation, 1)
    except Interrupted as interruption:
        # The terminal has printed ^C where the line would begin.
        if sys.stderr.isatty():
            print(file=sys.stderr)
        return _say(str(interruption), interruption, invocation, interruption.exit_code)
    except (OutputFailed, BrokenPipeError) as error:
        return _output_failed(error, invocation)
    except OSError as error:
        return _say(f"{error.strerror or error}: {error.filename or 'the output'}", error, invocation, 1)
    return code if isinstance(code, int) else 0


def redact(text: str) -> str:
    """Return ``text`` without the passwords of the URLs in it; what is not printable is escaped."""
    text = _SECRET_OPTION.sub(r"\1***", _PASSWORD_IN_URL.sub(r"\1@", text))
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def _say(message: str, error: BaseException, invocation: Invocation, code: int) -> int:
    if invocation.debug:
        # Never with the values of variables: a password may be among them.
        sys.stderr.writelines(redact(line) for line in traceback.format_exception(error))
    first, *others = redact(message).splitlines() or [""]
    print("\n    ".join((f"error: {first}", *others)), file=sys.stderr)
    return code


def _output_failed(error: BaseException, invocation: Invocation) -> int:
    # The interpreter would write what is still buffered when it ends, and fail again.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    cause = error.__cause__ or error
    if isinstance(cause, BrokenPipeError):
        # The reader has left, as in "| head"; that is no failure to report.
        return 1
    return _say(f"the output cannot be written: {getattr(cause, 'strerror', cause)}", error, invocation, 1)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(f"{record.levelname.lower()}: {record.getMessage()}")
