"""``--metrics-port`` and ``--metrics-host``, for the commands that run for a while."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Optional, TypeVar

import click

from scheduler_repo.cli.options import WholeNumber

DecoratedT = TypeVar("DecoratedT", bound=Callable[..., object])
_PORT_OPTION = "--metrics-port"
_HOST_OPTION = "--metrics-host"


def metrics_options(command: DecoratedT) -> DecoratedT:
    """Add both options to a command, as its arguments ``metrics_port`` and ``metrics_host``."""
    for option in (
        click.option(
            _HOST_OPTION, metavar="HOST", help=f"Where {_PORT_OPTION} is listened on. [default: 127.0.0.1]"
        ),
        click.option(
            _PORT_OPTION,
            type=WholeNumber(0, 65535),
            metavar="N",
            help="Serve Prometheus metrics on this port meanwhile; 0 takes a free one.",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def serving_metrics(port: Optional[int], host: Optional[str], say: Callable[[str], None]) -> Iterator[None]:
    """Serve the metrics inside the block, if there is a port for them, and say where.

    Raises UsageError for a port or host that cannot be listened on, and for a host without a port.
    """
    if port is None:
        if host is not None:
            raise click.UsageError(f"{_HOST_OPTION} says where {_PORT_OPTION} is listened on; give both.")
        yield
        return
    # The registry and its server take long to load, and --help needs none.
    from scheduler_repo.errors import InvalidSettings
    from scheduler_repo.metrics.endpoint import LOOPBACK, metrics_endpoint

    with ExitStack() as stack:
        try:
            url = stack.enter_context(metrics_endpoint(port, LOOPBACK if host is None else host))
        except InvalidSettings as error:
            raise click.UsageError(f"{_PORT_OPTION}: {error}") from error
        say(f"metrics: {url}")
        yield
