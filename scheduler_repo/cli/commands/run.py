"""``scheduler-repo run``: schedule scaling groups until a signal comes."""

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Optional, cast

import click

from scheduler_repo.cli.options import (
    CommandT,
    SecondsBetween,
    database_url_option,
    metrics_options,
    parse_name,
    read_settings,
    redis_url_option,
    require_database,
    serve_metrics,
)
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.process.loading import load_part
from scheduler_repo.errors import InvalidSettings
from scheduler_repo.loop.sweeps import Sweep, Sweeps
from scheduler_repo.scheduling.planner.checks import check_planner
from scheduler_repo.types import LeaseHolder, ScalingGroupName

if TYPE_CHECKING:
    from scheduler_repo.loop.dispatching import Dispatcher
    from scheduler_repo.scheduling.planner.protocol import Planner
    from scheduler_repo.settings import DatabaseSettings, Settings

# How long a plan keeps the processor before the event loop may have it: at Python's own 5 ms, the plans of one
# group hold up the ticks of the others.
_SWITCH_SECONDS: Final = 0.0005
_HOUR: Final = 3_600
_DAY: Final = 86_400
_POOL_SIZE: Final = "SCHEDULER_REPO_POOL_SIZE"
# The field of Sweeps for each sweep.
_INTERVALS: Final = {
    Sweep.LOST_AGENTS: "lost_agents_every",
    Sweep.LOST_SESSIONS: "recovery_every",
    Sweep.PENDING_TIMEOUTS: "pending_every",
    Sweep.COMPARE: "compare_every",
    Sweep.FOLD: "fold_every",
    Sweep.TRIM: "trim_every",
    Sweep.AUDIT: "audit_every",
}


def parse_groups(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[ScalingGroupName, ...]:
    """Return the names of scaling groups, each once; raises BadParameter."""
    groups = tuple(ScalingGroupName(parse_name(text, "the names of scaling groups")) for text in texts)
    if len(set(groups)) < len(groups):
        raise click.BadParameter("a group is named twice; name each once")
    return groups


def parse_holder(
    context: click.Context, parameter: click.Parameter, text: Optional[str]
) -> Optional[LeaseHolder]:
    """Return the name of a lease's holder; raises BadParameter."""
    return None if text is None else LeaseHolder(parse_name(text, "the name of this process"))


def _seconds_option(name: str, most: float, default: float, text: str) -> "Callable[[CommandT], CommandT]":
    """Build an option that is a time of at least a tenth of a second."""
    return click.option(
        name, type=SecondsBetween(0.1, most), default=default, show_default=True, metavar="SECONDS", help=text
    )


@click.command(
    short_help="Schedule groups until a signal comes.",
    epilog="SIGTERM, SIGINT or SIGHUP: what is under way is finished, leases are given back, exit code 0. "
    "A second one ends it at once.",
)
@click.argument("groups", metavar="GROUP...", nargs=-1, required=True, callback=parse_groups)
@click.option(
    "--planner",
    "planner_name",
    metavar="MODULE:OBJECT",
    help="Plan with this object, or with what this class or function makes for each group. "
    "[default: BestFitPlanner]",
)
@click.option(
    "--dispatcher",
    "dispatcher_name",
    metavar="MODULE:OBJECT",
    help="Tell agents of what is placed by this object, or by what this class or function makes; "
    "nobody is told without.",
)
@_seconds_option("--interval", _HOUR, 10.0, "The longest time between two ticks; changes wake it sooner.")
@click.option(
    "--holder",
    callback=parse_holder,
    metavar="NAME",
    help="This process in leases; no other may have it. [default: one that is unique]",
)
@_seconds_option("--lease-ttl", _DAY, 30.0, "Another process takes over so long after this one was killed.")
@_seconds_option("--plan-timeout", _DAY, 60.0, "A plan that takes longer fails its tick.")
@_seconds_option("--dispatch-timeout", _DAY, 30.0, "A call of the dispatcher that takes longer fails.")
@_seconds_option("--stop-timeout", _DAY, 10.0, "What is under way has so long to end after a signal.")
@click.option(
    "--longest-silence",
    type=SecondsBetween(15, _DAY),
    metavar="SECONDS",
    help="Agents without a heartbeat for so long are lost. [default: none is]",
)
@click.option(
    "--lost-sessions",
    type=click.Choice(["requeue", "fail"]),
    default="requeue",
    show_default=True,
    help="What becomes of sessions on lost agents.",
)
@click.option(
    "--no-sweep",
    "left_out",
    type=click.Choice([sweep.value for sweep in Sweep]),
    multiple=True,
    metavar="SWEEP",
    help=f"Leave a sweep to others: {', '.join(Sweep)}. May be given several times.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How each line of the log on stderr is written.",
)
@database_url_option
@redis_url_option
@metrics_options
@click.pass_obj
def run(
    invocation: Invocation,
    groups: tuple[ScalingGroupName, ...],
    planner_name: Optional[str],
    dispatcher_name: Optional[str],
    interval: float,
    holder: Optional[LeaseHolder],
    lease_ttl: float,
    plan_timeout: float,
    dispatch_timeout: float,
    stop_timeout: float,
    longest_silence: Optional[float],
    lost_sessions: str,
    left_out: tuple[str, ...],
    log_format: str,
    database_url: Optional[str],
    redis_url: Optional[str],
    metrics_port: Optional[int],
    metrics_host: Optional[str],
) -> int:
    """Schedule each GROUP in this process until a signal comes: tick, sweep, tell agents.

    Of several processes with one group one leads, and the others wait and take over. Failures are logged
    once and tried again. --metrics-port serves /metrics, /healthz and /readyz.
    """
    settings = read_settings(database_url, redis_url)
    database = _database_for(settings, len(groups), folds=Sweep.FOLD.value not in left_out)
    if lease_ttl <= database.idle_in_transaction_timeout:
        least = f"above {database.idle_in_transaction_timeout:g}"
        raise click.UsageError(
            f"--lease-ttl is {lease_ttl:g}; give {least}, which is SCHEDULER_REPO_IDLE_IN_TRANSACTION_TIMEOUT: "
            "a process that was stopped may hold up the take-over for so long"
        )
    sweeps = _sweeps(longest_silence, lost_sessions, left_out)
    make_planner, dispatcher = _load_planner(planner_name), _load_dispatcher(dispatcher_name)
    from scheduler_repo.cli.process.logs import begin_log
    from scheduler_repo.cli.run.schedulers import Schedulers, make_holder
    from scheduler_repo.cli.terminal import say
    from scheduler_repo.loop.pacing import RunSettings

    schedulers = Schedulers(
        groups,
        make_planner=make_planner,
        dispatcher=dispatcher,
        dispatch_timeout=dispatch_timeout,
        holder=make_holder() if holder is None else holder,
        lease_ttl=lease_ttl,
        settings=RunSettings(interval=interval, plan_timeout=plan_timeout, stop_timeout=stop_timeout),
        sweeps=sweeps,
    )
    probes = {"/healthz": schedulers.liveness, "/readyz": schedulers.readiness}
    begin_log(invocation, log_format)
    sys.setswitchinterval(_SWITCH_SECONDS)
    with serve_metrics(metrics_port, metrics_host, partial(say, to_stderr=True), probes):
        return invocation.run_until_stopped(
            lambda stop: schedulers.run(stop, database, settings.cache), schedulers.longest_end
        )


def _database_for(settings: "Settings", groups: int, *, folds: bool) -> "DatabaseSettings":
    """Return the settings of the database, with a pool for so many groups unless its size is set."""
    import msgspec

    from scheduler_repo.cli.run.schedulers import connections_for

    database = require_database(settings, keeps_logs_short=folds)
    if _POOL_SIZE in os.environ:
        return database
    return msgspec.structs.replace(database, pool_size=max(database.pool_size, connections_for(groups)))


def _sweeps(longest_silence: Optional[float], lost_sessions: str, left_out: tuple[str, ...]) -> Sweeps:
    from scheduler_repo.entities.lifecycle import LostSessionAction

    try:
        return Sweeps(
            longest_silence=longest_silence,
            recovery=LostSessionAction(lost_sessions.upper()),
            **{_INTERVALS[Sweep(name)]: None for name in left_out},
        )
    except InvalidSettings as error:
        raise click.UsageError(str(error)) from error


def _load_planner(name: Optional[str]) -> "Callable[[], Planner]":
    """Return what makes a group's planner; raises BadParameter."""
    if name is None:
        from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner

        return BestFitPlanner
    return cast("Callable[[], Planner]", load_part(name, "--planner", "planners:FirstFit", check_planner))


def _load_dispatcher(name: Optional[str]) -> "Optional[Dispatcher]":
    """Make the dispatcher of the process; raises BadParameter."""
    if name is None:
        return None
    from scheduler_repo.loop.dispatching import check_dispatcher

    return cast("Dispatcher", load_part(name, "--dispatcher", "agents:Dispatcher", check_dispatcher)())
