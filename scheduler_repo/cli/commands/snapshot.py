"""``scheduler-repo snapshot``: what one tick of a group would see now."""

from pathlib import Path
from typing import Optional

import click

from scheduler_repo.cli.options import (
    FilePath,
    database_url_option,
    parse_group_name,
    parse_seconds,
    read_settings,
    redis_url_option,
    require_database,
)
from scheduler_repo.cli.output.snapshot_file import check_output, write_output
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.terminal import say_json
from scheduler_repo.types import ScalingGroupName


@click.command(short_help="Show what one tick of a group would see now.")
@click.argument("group", callback=parse_group_name)
@click.option(
    "--max-staleness",
    callback=parse_seconds,
    default="0",
    metavar="SECONDS",
    help="Accept an answer from Redis that is at most this old. [default: 0, ask the database]",
)
@click.option(
    "-o",
    "--output",
    type=FilePath(),
    metavar="FILE",
    help="Write the snapshot to this file, for 'scheduler-repo replay'; - is stdout.",
)
@click.option(
    "--anonymize",
    "is_anonymous",
    is_flag=True,
    help="Replace names and ids, each by the same everywhere; numbers and times stay.",
)
@database_url_option
@redis_url_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object: all that a tick reads, and why sessions wait.",
)
@click.pass_obj
def snapshot(
    invocation: Invocation,
    group: ScalingGroupName,
    max_staleness: float,
    output: Optional[Path],
    is_anonymous: bool,
    database_url: Optional[str],
    redis_url: Optional[str],
    as_json: bool,
) -> None:
    """Show what one tick of GROUP would see now: the queue, the agents, the quotas, and why sessions wait.

    Reads only. Amounts in JSON are whole numbers in each slot's smallest unit; "waiting" gives the reason for
    each pending session, by its id, and the reason in words.

    With -o it is written to a file as it was read: whole, or not at all. To share a case, add --anonymize.
    """
    if output is not None:
        check_output(output, as_json=as_json)
    settings = read_settings(database_url, redis_url)
    database = require_database(settings)
    if max_staleness and settings.cache is None:
        raise click.UsageError("--max-staleness needs a cache that may answer; give --redis-url")

    async def work() -> None:
        import msgspec

        from scheduler_repo.cli.output.console import CommandConsole
        from scheduler_repo.cli.output.snapshot import encode_snapshot, lay_out_snapshot
        from scheduler_repo.cli.process.servers import open_cache_source
        from scheduler_repo.database.connecting import open_database
        from scheduler_repo.errors import ScalingGroupNotFound
        from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
        from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
        from scheduler_repo.scheduling.snapshot.anonymize import anonymize

        async with open_database(database, to_write=False) as engine:
            db_source = SchedulerDBSource(engine)
            async with open_cache_source(settings.cache, db_source, must_answer=False) as cache_source:
                repository = SchedulerRepository(db_source, cache_source)
                try:
                    timed = await repository.get_timed_scheduling_data(group, max_staleness)
                except ScalingGroupNotFound as error:
                    advice = "list the groups with: SELECT name FROM scaling_groups"
                    raise error.with_message(error.found, advice) from error
        if is_anonymous:
            timed = msgspec.structs.replace(timed, data=anonymize(timed.data))
        if output is not None:
            write_output(output, timed.data)
        if as_json:
            say_json(encode_snapshot(timed.data))
        elif output is None:
            outcomes = {} if cache_source is None else cache_source.outcomes
            CommandConsole().show(lay_out_snapshot(timed, outcomes))

    invocation.run(work)
