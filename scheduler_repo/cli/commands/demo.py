"""``scheduler-repo demo``: the whole engine at work, with one command."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Optional

import click

from scheduler_repo.cli.options import (
    DATABASE_URL_OPTION,
    FilePath,
    WholeNumber,
    database_url_option,
    metrics_options,
    parse_group_name,
    read_settings,
    redis_url_option,
    serve_metrics,
    whole_number_option,
)
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.process.secret_arguments import URL_OPTIONS, came_as_option
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.validation import MAX_BATCH_SIZE
from scheduler_repo.workload.synthetic import MAX_AGENTS, MAX_SESSIONS, synthetic_cluster

if TYPE_CHECKING:
    from scheduler_repo.entities.cluster import ClusterSpec

# The synthetic cluster where nothing else is asked for.
_AGENTS: Final = 200
_SESSIONS: Final = 2_000
_SEED: Final = 1


@click.command(
    short_help="Place a queue on a cluster, on servers that start by themselves.",
    epilog="Ctrl-C, or any error, stops and removes the embedded servers and all their data.",
)
@whole_number_option("--agents", WholeNumber(0, MAX_AGENTS), "Agents of the synthetic cluster.", _AGENTS)
@whole_number_option("--sessions", WholeNumber(0, MAX_SESSIONS), "Sessions in its queue.", _SESSIONS)
@whole_number_option("--seed", WholeNumber(), "The same seed makes the same cluster.", _SEED)
@click.option(
    "--trace-nodes",
    type=FilePath(),
    metavar="FILE",
    help="CSV of nodes, instead of a synthetic cluster; with --trace-pods.",
)
@click.option("--trace-pods", type=FilePath(), metavar="FILE", help="CSV of tasks; with --trace-nodes.")
@click.option(
    "--group",
    callback=parse_group_name,
    default="demo",
    show_default=True,
    metavar="NAME",
    help="The scaling group to create.",
)
@database_url_option
@redis_url_option
@whole_number_option("--port", WholeNumber(1, 65535), "The embedded PostgreSQL also listens on 127.0.0.1:N.")
@click.option("--keep", is_flag=True, help="Leave the embedded servers running after a good run.")
@whole_number_option(
    "--per-tick",
    WholeNumber(1, MAX_BATCH_SIZE),
    "Sessions that come before each tick; all at first if left out.",
)
@click.option("--full-reads", is_flag=True, help="Have each tick read everything, not what has changed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; all else goes to stderr.")
@metrics_options
@click.pass_obj
def demo(
    invocation: Invocation,
    agents: Optional[int],
    sessions: Optional[int],
    seed: Optional[int],
    trace_nodes: Optional[Path],
    trace_pods: Optional[Path],
    group: ScalingGroupName,
    database_url: Optional[str],
    redis_url: Optional[str],
    port: Optional[int],
    keep: bool,
    per_tick: Optional[int],
    full_reads: bool,
    as_json: bool,
    metrics_port: Optional[int],
    metrics_host: Optional[str],
) -> int:
    """Load a cluster and a queue, place all that fits, and say what waits and why.

    A real PostgreSQL and a real Valkey are started in a private directory and removed at the end. With
    --database-url the demo runs on your own database instead: its schema must be there (scheduler-repo db
    upgrade), the group must be new, and what is loaded stays.
    """
    read_cluster: Callable[[], ClusterSpec]
    if trace_nodes is not None and trace_pods is not None:
        if (agents, sessions, seed) != (None, None, None):
            problem = "--agents, --sessions and --seed make a synthetic cluster; a trace has its own."
            raise click.UsageError(problem)
        from scheduler_repo.workload.trace import read_trace

        read_cluster = partial(read_trace, trace_nodes, trace_pods, group)
    elif trace_nodes is None and trace_pods is None:
        read_cluster = partial(
            synthetic_cluster,
            _AGENTS if agents is None else agents,
            _SESSIONS if sessions is None else sessions,
            _SEED if seed is None else seed,
            group,
        )
    else:
        raise click.UsageError("--trace-nodes and --trace-pods belong together; give both or neither.")
    settings = read_settings(database_url, redis_url)
    is_option = database_url is not None or came_as_option(DATABASE_URL_OPTION)
    origin = DATABASE_URL_OPTION if is_option else URL_OPTIONS[DATABASE_URL_OPTION]
    if settings.database is not None and (port is not None or keep):
        advice = "leave out" if is_option else "unset"
        raise click.UsageError(f"--port and --keep are for the embedded PostgreSQL; {advice} {origin}.")
    from scheduler_repo.cli.demo.run import DemoRun
    from scheduler_repo.cli.output.console import CommandConsole

    console = CommandConsole(stderr=as_json)
    run = DemoRun(
        invocation=invocation,
        console=console,
        group=group,
        settings=settings,
        database_origin=origin,
        redis_url=redis_url,
        port=port,
        keep=keep,
        per_tick=per_tick,
        full_reads=full_reads,
        as_json=as_json,
    )
    with serve_metrics(metrics_port, metrics_host, console.say):
        return run.execute(read_cluster)
