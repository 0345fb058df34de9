"""``scheduler-repo replay``: one plan on a snapshot in a file."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final, Optional, cast

import click

from scheduler_repo.cli.options import FilePath, WholeNumber, whole_number_option
from scheduler_repo.cli.output.snapshot_file import read_input
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.process.loading import load_part
from scheduler_repo.cli.terminal import say_json
from scheduler_repo.errors import SchedulerRepoError
from scheduler_repo.scheduling.planner.checks import check_planner

if TYPE_CHECKING:
    from scheduler_repo.scheduling.planner.protocol import Planner

_SHOWN: Final = 20


@click.command(short_help="Plan one tick on a snapshot in a file.")
@click.argument("path", metavar="FILE", type=FilePath())
@click.option(
    "--planner",
    "planner_name",
    metavar="MODULE:OBJECT",
    help="Plan with this class or object of your own, found from here or installed. [default: BestFitPlanner]",
)
@whole_number_option("--show", WholeNumber(0, 1_000_000), "Show at most so many of each kind.", _SHOWN)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object: all decisions, and why sessions wait."
)
@click.pass_obj
def replay(
    invocation: Invocation, path: Path, planner_name: Optional[str], show: Optional[int], as_json: bool
) -> None:
    """Plan one tick on the snapshot in FILE, which 'scheduler-repo snapshot GROUP -o FILE' wrote; - is stdin.

    Shows what is placed and where, and why the others wait once that is placed. The plan is judged as a write
    would judge it. Needs no server, and nothing in FILE is run: it may come from anybody.
    """
    planner = _load_planner(planner_name)
    data = read_input(path)
    from scheduler_repo.cli.output.console import CommandConsole
    from scheduler_repo.cli.output.replay import encode_replay, lay_out_replay
    from scheduler_repo.scheduling.explain.replay import replay_plan

    name = type(planner).__name__
    started = perf_counter()
    try:
        replayed = replay_plan(data, planner)
    except SchedulerRepoError:
        raise
    except Exception as error:
        problem = f"{name}.plan() raised {type(error).__name__}: {error}"
        raise click.ClickException(f"{problem}; see where with --debug") from error
    seconds = perf_counter() - started
    if as_json:
        say_json(encode_replay(data, name, replayed))
    else:
        most = _SHOWN if show is None else show
        CommandConsole().show(lay_out_replay(data, name, replayed, seconds, most))


def _load_planner(name: Optional[str]) -> "Planner":
    """Make the planner that an option names; raises BadParameter."""
    if name is None:
        from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner

        return BestFitPlanner()
    return cast("Planner", load_part(name, "--planner", "planners:FirstFit", check_planner)())
