"""``scheduler-repo snapshot``: what one tick of a group would see now."""

from typing import Optional

import click

from scheduler_repo.cli.options import (
    checked_group_name,
    checked_seconds,
    database_url_option,
    debug_option,
    given_settings,
    missing_database,
    redis_url_option,
)
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.types import ScalingGroupName


@click.command(short_help="Show what one tick of a group would see now.")
@click.argument("group", callback=checked_group_name)
@click.option(
    "--max-staleness",
    callback=checked_seconds,
    default="0",
    metavar="SECONDS",
    help="Allow an answer so old, from Redis. [default: 0, ask the database]",
)
@database_url_option
@redis_url_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object: all that it reads, and why each session waits.",
)
@debug_option
@click.pass_obj
def snapshot(
    invocation: Invocation,
    group: ScalingGroupName,
    max_staleness: float,
    database_url: Optional[str],
    redis_url: Optional[str],
    as_json: bool,
) -> None:
    """Show what one tick of GROUP would see now: the queue, the agents, the quotas, and why sessions wait.

    Reads only. Amounts in JSON are whole numbers in each slot's smallest unit; "waiting" says of each pending
    session, by its id, the reason and its text.
    """
    settings = given_settings(database_url, redis_url)
    database = settings.database
    if database is None:
        raise missing_database()

    async def work() -> None:
        from scheduler_repo.cli.output.snapshot_json import snapshot_json
        from scheduler_repo.cli.output.snapshot_summary import snapshot_summary
        from scheduler_repo.cli.output.streams import CommandConsole, say_json
        from scheduler_repo.cli.process.servers import open_cache_source, open_engine, require_usable_database
        from scheduler_repo.errors import ScalingGroupNotFound
        from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
        from scheduler_repo.repositories.scheduler.repository import SchedulerRepository

        async with open_engine(database) as engine:
            await require_usable_database(engine, database, to_write=False)
            db_source = SchedulerDBSource(engine)
            async with open_cache_source(settings.cache, db_source, must_answer=False) as cache_source:
                repository = SchedulerRepository(db_source, cache_source)
                try:
                    timed = await repository.get_timed_scheduling_data(group, max_staleness)
                except ScalingGroupNotFound as error:
                    advice = "see the groups with: SELECT name FROM scaling_groups"
                    raise ScalingGroupNotFound(f"{error}; {advice}") from error
        if as_json:
            say_json(snapshot_json(timed.data))
        else:
            CommandConsole().show(
                snapshot_summary(timed, {} if cache_source is None else cache_source.outcomes)
            )

    invocation.run(work)
