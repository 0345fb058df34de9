"""``scheduler-repo metrics``: what is needed to look at the metrics."""

import click


@click.group()
def metrics() -> None:
    """Print a dashboard of the metrics."""


@metrics.command()
def dashboard() -> None:
    """Print a Grafana dashboard of all metrics, as JSON to import."""
    from scheduler_repo.cli.output.console import say_json
    from scheduler_repo.metrics.dashboard import dashboard_json

    say_json(dashboard_json().rstrip("\n").encode())
