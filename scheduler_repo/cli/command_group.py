"""The command line: all commands in one group."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

import click

from scheduler_repo.cli.commands.audit import audit
from scheduler_repo.cli.commands.db import db
from scheduler_repo.cli.commands.demo import demo
from scheduler_repo.cli.commands.explain import explain
from scheduler_repo.cli.commands.metrics import metrics
from scheduler_repo.cli.commands.replay import replay
from scheduler_repo.cli.commands.run import run
from scheduler_repo.cli.commands.snapshot import snapshot
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.terminal import say


def _show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        try:
            say(f"scheduler-repo {version('scheduler-repo')}")
        except PackageNotFoundError:
            say("scheduler-repo (not installed)")
        context.exit()


def _set_debug(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    invocation = context.find_object(Invocation)
    if wanted and invocation is not None:
        invocation.debug = True


_DEBUG_OPTION: Final = click.Option(
    ["--debug"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_set_debug,
    help="Show the traceback of an error.",
)


def add_debug_option(command: click.Command) -> None:
    """Add ``--debug`` to a command and, if it is a group, to all its commands."""
    text = "Show the traceback of an error."
    command.params.append(
        click.Option(
            ["--debug"], is_flag=True, is_eager=True, expose_value=False, callback=_set_debug, help=text
        )
    )
    if isinstance(command, click.Group):
        for each in command.commands.values():
            add_debug_option(each)


@click.group(
    commands=[demo, run, db, snapshot, replay, explain, audit, metrics],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Every setting can also come from the environment, such as SCHEDULER_REPO_DATABASE_URL and "
    "SCHEDULER_REPO_REDIS_URL; an option takes precedence.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def command_line() -> None:
    """The data-access engine under a scheduler of compute sessions.

    Start with "scheduler-repo demo": it needs nothing but this package.
    """


add_debug_option(command_line)
