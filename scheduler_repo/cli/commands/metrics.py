"""``scheduler-repo metrics``: what is needed to look at the metrics."""

import click

from scheduler_repo.cli.terminal import say_json


@click.group()
def metrics() -> None:
    """Print a dashboard of the metrics."""


@metrics.command()
def dashboard() -> None:
    """Print a Grafana dashboard of all metrics, as JSON to import."""
    from scheduler_repo.metrics.dashboard import dashboard_json

    say_json(dashboard_json().rstrip("\n").encode())
