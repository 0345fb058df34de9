"""A Grafana dashboard of all metrics of this package."""

from importlib.resources import files


def dashboard_json() -> str:
    """Return the dashboard as the JSON that Grafana imports; it asks for its Prometheus data source there."""
    return files("scheduler_repo.metrics").joinpath("dashboard.json").read_text(encoding="utf-8")
