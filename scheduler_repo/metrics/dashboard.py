"""A Grafana dashboard of all metrics of this package, made of the panels in ``dashboard.toml``."""

import json
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from string import ascii_uppercase
from typing import Final

import msgspec

_COLUMNS: Final = 24
_HEIGHT: Final = 8
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_OPTIONS: Final = {
    "legend": {"displayMode": "list", "placement": "bottom"},
    "tooltip": {"mode": "multi", "sort": "desc"},
}


class _Variable(msgspec.Struct):
    name: str
    label: str
    query: str


class _Target(msgspec.Struct):
    legend: str
    expr: str


class _Panel(msgspec.Struct):
    title: str
    description: str
    unit: str
    targets: list[_Target]
    width: int = 8
    stacked: bool = False


class _Row(msgspec.Struct):
    title: str
    panel: list[_Panel]


class _Dashboard(msgspec.Struct):
    variable: list[_Variable]
    row: list[_Row]


def dashboard_json() -> str:
    """Return the dashboard as the JSON that Grafana imports; it asks for its Prometheus data source there."""
    text = files("scheduler_repo.metrics").joinpath("dashboard.toml").read_text(encoding="utf-8")
    dashboard = msgspec.convert(tomllib.loads(text), _Dashboard)
    source = {
        "name": "datasource",
        "type": "datasource",
        "label": "data source",
        "query": "prometheus",
        "current": {},
    }
    made = {
        "title": "scheduler-repo",
        "uid": "scheduler-repo",
        "description": "The repositories layer and the engine under a scheduler.",
        "tags": ["scheduler-repo"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source, *map(_variable, dashboard.variable)]},
        "panels": [{"id": number} | panel for number, panel in enumerate(_place(dashboard.row), 1)],
    }
    return json.dumps(made, indent=2) + "\n"


def _place(rows: list[_Row]) -> Iterator[dict[str, object]]:
    """Lay the panels of each row out from left to right, and below where a line is full."""
    y = 0
    for row in rows:
        place = {"h": 1, "w": _COLUMNS, "x": 0, "y": y}
        yield {"type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        y, x = y + 1, 0
        for panel in row.panel:
            if x + panel.width > _COLUMNS:
                y, x = y + _HEIGHT, 0
            yield _graph(panel, {"h": _HEIGHT, "w": panel.width, "x": x, "y": y})
            x += panel.width
        y += _HEIGHT


def _graph(panel: _Panel, place: dict[str, int]) -> dict[str, object]:
    custom: dict[str, object] = {"fillOpacity": 8, "lineWidth": 1, "showPoints": "never"}
    if panel.stacked:
        custom |= {"fillOpacity": 30, "stacking": {"mode": "normal", "group": "A"}}
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": _OPTIONS,
        "targets": [
            {"refId": letter, "datasource": _DATASOURCE, "expr": target.expr, "legendFormat": target.legend}
            for letter, target in zip(ascii_uppercase, panel.targets, strict=False)
        ],
    }


def _variable(variable: _Variable) -> dict[str, object]:
    return {
        "name": variable.name,
        "type": "query",
        "label": variable.label,
        "datasource": _DATASOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "definition": variable.query,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "refresh": 2,
        "sort": 1,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }
