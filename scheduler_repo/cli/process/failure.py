"""Turns whatever a command raises into one line on stderr and an exit code."""

import io
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Optional, TextIO, Union

import click

from scheduler_repo.cli.process.invocation import Interrupted, Invocation
from scheduler_repo.cli.process.secret_arguments import hide_given_secrets
from scheduler_repo.cli.terminal import OutputFailed, quote_lines, say, say_error
from scheduler_repo.errors import SchedulerRepoError
from scheduler_repo.quoting import clean_message


def run_reporting_failures(
    command: click.Command, invocation: Invocation, program: str = "scheduler-repo"
) -> int:
    """Run the command that the arguments name, report failures on stderr, and return the exit code.

    ``program`` is what its users call it.
    """

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
        code = command.main(prog_name=program, standalone_mode=False, obj=invocation)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        path = _find_path(program, command, sys.argv[1:]) if error.ctx is None else error.ctx.command_path
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
            say("", to_stderr=True)
        return _say(str(interruption), interruption, invocation, interruption.exit_code)
    except (OutputFailed, BrokenPipeError) as error:
        return _output_failed(error, invocation)
    except OSError as error:
        return _say(f"{error.strerror or error}: {error.filename or 'the output'}", error, invocation, 1)
    return code if isinstance(code, int) else 0


def redact(text: str) -> str:
    """Return ``text`` as one printable line, without what the command was given in secret, or URLs hold."""
    return clean_message(hide_given_secrets(text))


def _warn(text: str) -> None:
    say(f"warning: {text}", to_stderr=True)


def report_stray_errors(warn: Callable[[str], None] = _warn) -> None:
    """Report in one line also what Python itself would print: warnings, errors in threads and in finalizers."""

    def report_warning(
        message: Union[Warning, str],
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Optional[TextIO] = None,
        line: Optional[str] = None,
    ) -> None:
        warn(redact(str(message)))

    def report_thread(stray: threading.ExceptHookArgs) -> None:
        warn(redact(f"in a thread, {stray.exc_type.__name__}: {stray.exc_value}"))

    def report_finalizer(stray: "sys.UnraisableHookArgs") -> None:
        warn(redact(f"at the end, {stray.exc_type.__name__}: {stray.exc_value}"))

    warnings.showwarning = report_warning
    threading.excepthook = report_thread
    sys.unraisablehook = report_finalizer


def _find_path(program: str, command: click.Command, arguments: Sequence[str]) -> str:
    """Return the words of the command that the arguments name, for an error that does not know its command."""
    path = program
    for argument in arguments:
        if argument.startswith("-"):
            continue
        if not isinstance(command, click.Group) or argument not in command.commands:
            break
        command, path = command.commands[argument], f"{path} {argument}"
    return path


def _say(text: str, error: BaseException, invocation: Invocation, code: int) -> int:
    if invocation.debug:
        # Never with the values of variables: a password may be among them.
        trace = hide_given_secrets("".join(traceback.format_exception(error)).rstrip("\n"))
        say(*map(clean_message, quote_lines(trace)), to_stderr=True)
    if invocation.report_error is not None:
        invocation.report_error(redact(text))
    else:
        say_error(redact(text))
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
