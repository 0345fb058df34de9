"""The dashboard names what the package exports, all of it and nothing else."""

from typing import Optional

import msgspec
import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from scheduler_repo.metrics.dashboard import dashboard_json
from scheduler_repo.metrics.pools import PoolCollector
from tests.metrics.package_metrics import OURS, import_all
from tests.metrics.promql import Query, parsed
from tests.support.command import CommandHere

_SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


class Target(msgspec.Struct):
    expr: str


class Panel(msgspec.Struct):
    id: int
    title: str
    type: str
    description: str = ""
    targets: tuple[Target, ...] = ()


class Variable(msgspec.Struct):
    name: str
    definition: Optional[str] = None


class Templating(msgspec.Struct):
    list: tuple[Variable, ...]


class Dashboard(msgspec.Struct):
    """What of it the tests look at."""

    uid: str
    panels: tuple[Panel, ...]
    templating: Templating


class Exported(msgspec.Struct, frozen=True):
    """One metric of the package: its samples as scraped, and its labels."""

    name: str
    kind: str
    labels: frozenset[str]

    @property
    def samples(self) -> tuple[str, ...]:
        return tuple(self.name + suffix for suffix in _SAMPLES[self.kind])


def exported() -> dict[str, Exported]:
    """Every metric that any module of the package makes, by the name of each of its samples."""
    import_all()
    found: dict[str, Exported] = {}
    for collector in set(REGISTRY._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            labels = frozenset(collector._labelnames)
        elif isinstance(collector, PoolCollector):
            labels = frozenset({"database"})
        else:
            continue
        for family in collector.describe():
            metric = Exported(family.name, family.type, labels)
            if metric.name.startswith(OURS):
                found |= dict.fromkeys(metric.samples, metric)
    return found


def dashboard() -> Dashboard:
    return msgspec.json.decode(dashboard_json(), type=Dashboard)


def queries() -> list[Query]:
    return [parsed(target.expr) for panel in dashboard().panels for target in panel.targets]


class TestDashboard:
    @pytest.fixture
    def metrics(self) -> dict[str, Exported]:
        return exported()

    @pytest.mark.parametrize("query", queries())
    def test_every_query_names_what_is_exported(self, query: Query, metrics: dict[str, Exported]) -> None:
        known: set[str] = set()
        for selector in query.selectors:
            assert selector.metric in metrics
            metric = metrics[selector.metric]
            known |= metric.labels | ({"le"} if selector.metric.endswith("_bucket") else set())
            assert {label for label, _ in selector.matchers} <= metric.labels
            # What only grows is of use as a rate alone, and a gauge never is.
            assert selector.is_counted == (metric.kind != "gauge")
        assert query.labels <= known

    def test_variables_are_of_what_is_exported(self, metrics: dict[str, Exported]) -> None:
        definitions = [
            variable.definition for variable in dashboard().templating.list if variable.definition is not None
        ]
        assert definitions
        for definition in definitions:
            assert definition.startswith("label_values(")
            metric, label = definition.removeprefix("label_values(").removesuffix(")").split(", ")
            assert label in metrics[metric].labels

    def test_values_that_are_matched_are_variables_or_exist(self) -> None:
        variables = {f"${variable.name}" for variable in dashboard().templating.list}
        matched = {value for query in queries() for each in query.selectors for _, value in each.matchers}
        assert matched - variables == {"false", "hit"}

    def test_every_exported_metric_is_shown(self, metrics: dict[str, Exported]) -> None:
        shown = {metrics[each.metric].name for query in queries() for each in query.selectors}
        assert {metric.name for metric in metrics.values()} - shown == set()

    def test_all_that_operators_ask_for_is_exported(self, metrics: dict[str, Exported]) -> None:
        labels = {metric.name: metric.labels for metric in metrics.values()}
        operation = {"domain", "layer", "operation"}
        assert labels["backendai_layer_operation_triggered_count"] == operation
        assert labels["backendai_layer_operation_count"] == operation | {"success"}
        assert labels["backendai_layer_operation_error_count"] == operation | {"error_code"}
        assert labels["backendai_layer_retry_count"] == operation
        assert labels["backendai_layer_operation_duration_sec"] == operation
        assert labels["scheduler_repo_cache_lookup_count"] == {"cache", "outcome"}
        assert labels["scheduler_repo_audit_findings"] == {"check"}

    def test_no_label_has_more_values_than_a_cluster_has_groups(self, metrics: dict[str, Exported]) -> None:
        """An id of a session, agent or owner as a label would be a time series for each of them."""
        labels = {label for metric in metrics.values() for label in metric.labels}
        few = {"cache", "check", "code", "database", "domain", "error_code", "layer", "operation", "outcome"}
        assert labels == few | {"answer", "log", "phase", "reason", "scaling_group", "success"}

    def test_panels_say_what_they_show(self) -> None:
        panels = dashboard().panels
        assert len({panel.id for panel in panels}) == len({panel.title for panel in panels}) == len(panels)
        assert all(panel.targets and panel.description for panel in panels if panel.type != "row")

    def test_command_prints_it(self, command_here: CommandHere) -> None:
        ended = command_here.run("metrics", "dashboard")
        assert (ended.code, ended.errors) == (0, "")
        assert ended.output == dashboard_json()
        assert msgspec.json.decode(ended.output, type=Dashboard).uid == "scheduler-repo"


class TestPromql:
    """The parser of these tests would be of no use if it let mistakes through."""

    def test_takes_a_query_apart(self) -> None:
        query = parsed('sum by (le, layer) (rate(a_bucket{x="1", y=~"$z"}[$__rate_interval])) / on (layer) b')
        assert [selector.metric for selector in query.selectors] == ["a_bucket", "b"]
        assert query.selectors[0].matchers == (("x", "1"), ("y", "$z"))
        assert [selector.is_counted for selector in query.selectors] == [True, False]
        assert query.labels == {"le", "layer"}

    @pytest.mark.parametrize(
        "text", ["", "sum(", "rate(a[5m]))", "rate", "a{x}", 'a{x="1"', "a[5]", "5", "a # b", "sum by (x"]
    )
    def test_refuses_what_is_none(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"."):
            parsed(text)

    def test_what_is_no_function_is_a_metric_that_is_not_exported(self) -> None:
        assert parsed("summ(a)").selectors[0].metric == "summ"
