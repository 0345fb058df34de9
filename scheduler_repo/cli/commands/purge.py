"""``scheduler-repo db purge``: deletes what ended long ago, batch by batch, after archiving it if asked to."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Optional

import click

from scheduler_repo.cli.options import (
    FilePath,
    WholeNumber,
    database_url_option,
    metrics_options,
    read_database,
    serve_metrics,
)
from scheduler_repo.cli.output.amounts import format_count
from scheduler_repo.cli.output.archive import open_archive
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.terminal import say
from scheduler_repo.entities.retention import PurgeResult
from scheduler_repo.quoting import quoted
from scheduler_repo.validation import MAX_BATCH_SIZE, check_retention

if TYPE_CHECKING:
    from scheduler_repo.repositories.retention.repository import OnBatch

_DURATION: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_AGAIN: Final = "run it again"
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(context: click.Context, parameter: click.Parameter, text: str) -> timedelta:
    """Read a whole number with its unit, such as 30d; raises BadParameter."""
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise click.BadParameter(
            f"{quoted(text)} is no duration; give a whole number above 0 with its unit, such as 90m, 12h, 30d "
            "or 4w"
        )
    try:
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise click.BadParameter(f"{quoted(text)} is too long; give less") from None


@click.command(short_help="Delete what ended long ago.")
@click.option(
    "--older-than",
    callback=parse_duration,
    required=True,
    metavar="DURATION",
    help="Delete what ended longer ago than this: 90m, 12h, 30d, 4w; at least an hour.",
)
@click.option(
    "--batch-size",
    type=WholeNumber(1, MAX_BATCH_SIZE),
    default=500,
    show_default=True,
    metavar="N",
    help="Sessions, or rows, in one transaction.",
)
@click.option("--dry-run", is_flag=True, help="Count what would be deleted, and delete nothing.")
@click.option(
    "--archive",
    "archive_path",
    type=FilePath(dir_okay=False),
    metavar="FILE",
    help="First append each session, with its kernels and history, as a line of JSON.",
)
@database_url_option
@metrics_options
@click.pass_obj
def purge(
    invocation: Invocation,
    older_than: timedelta,
    batch_size: int,
    dry_run: bool,
    archive_path: Optional[Path],
    database_url: Optional[str],
    metrics_port: Optional[int],
    metrics_host: Optional[str],
) -> None:
    """Delete finished sessions, agents' history and operations that are old.

    Run it as the role scheduler_repo_scheduler; schedulers may go on meanwhile. Sessions that unfinished ones
    depend on are kept, and so is the history of unfinished sessions. Each batch is a short transaction; after
    an interruption the next run continues.

    The archive is on disk before a batch is committed. After a crash in between, or an error, a session may be
    in it twice, but is never missing: the later line counts. A last line that a crash cut off is removed by the
    next run: nothing of its batch was purged.
    """
    if dry_run and archive_path is not None:
        problem = "--dry-run deletes nothing, so there is nothing to archive; leave out --archive."
        raise click.UsageError(problem)
    database = read_database(database_url)
    check_retention(older_than, database.resolve_timeout)

    async def work() -> PurgeResult:
        from scheduler_repo.database.connecting import open_database
        from scheduler_repo.repositories.retention.db_source import RetentionDBSource
        from scheduler_repo.repositories.retention.repository import RetentionRepository

        async with open_database(database, to_write=not dry_run) as engine:
            repository = RetentionRepository(RetentionDBSource(engine))
            if dry_run:
                return await repository.count_purgeable(older_than)
            with open_archive(archive_path) as archive, _reporting_progress(invocation) as on_batch:
                return await repository.purge(older_than, batch_size, on_batch, archive)

    with serve_metrics(metrics_port, metrics_host, lambda line: say(line, to_stderr=True)):
        done = invocation.run(work)
    if dry_run:
        kept = "would be kept"
        say(f"would purge {_gone(done)}; nothing was changed")
    else:
        kept = "kept"
        say(f"purged {_gone(done)}, in {format_count(done.batches, 'batch', 'batches')}")
    if done.kept_sessions:
        say(f"{kept}: {format_count(done.kept_sessions, 'session')} that unfinished sessions depend on")
    if done.skipped_sessions:
        skipped = format_count(done.skipped_sessions, "session")
        say(f"skipped: {skipped} that another transaction holds; the next purge takes what is left")


@contextmanager
def _reporting_progress(invocation: Invocation) -> "Iterator[OnBatch]":
    """Report what was purged so far: on a terminal meanwhile, and when an error or a signal ends the run."""
    from scheduler_repo.cli.output.console import CommandConsole
    from scheduler_repo.errors import PermissionDenied, SchedulerRepoError

    console = CommandConsole(stderr=True)
    status = console.status("purging") if console.can_animate else None

    done_before = ""

    def on_batch(done: PurgeResult) -> None:
        nonlocal done_before
        done_before = f"purged before: {_gone(done)}; the batch in progress was purged wholly or not at all"
        invocation.aftermath = f"{done_before}, {_AGAIN}"
        if status is not None:
            status.update(f"purged {_gone(done)}")

    on_batch(PurgeResult())
    try:
        with status or nullcontext():
            yield on_batch
    except PermissionDenied as error:
        raise error.with_message(error.found, "purge as the role scheduler_repo_scheduler") from error
    except SchedulerRepoError as error:
        raise error.with_message(f"{error.found}; {done_before}", error.advice or _AGAIN) from error
    except OSError as error:
        # From the archive: the database layer translates its own.
        said = f"{error.filename or 'the archive'}: {error.strerror or error}"
        raise click.ClickException(f"{said}; {invocation.aftermath}") from error


def _gone(done: PurgeResult) -> str:
    sessions, kernels = format_count(done.sessions, "session"), format_count(done.kernels, "kernel")
    history, operations = format_count(done.agent_history, "row"), format_count(done.operations, "operation")
    return f"{sessions} with {kernels}, {history} of agent history, {operations}"
