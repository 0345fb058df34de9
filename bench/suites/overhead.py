"""Suite ``overhead``: what the policies around a call cost when nothing fails, against a SELECT 1."""

from collections.abc import AsyncGenerator, Mapping
from typing import Final

from bench.data.servers import place_on
from bench.measure.results import ENGINE, FLOOR, PLAIN, CaseResult
from bench.measure.turns import Call, Side, Times
from bench.measure.wire import counted_wire
from bench.sides.plain_policies import (
    NumberedCall,
    bounded_plainly,
    counted_plainly,
    passed_on_plainly,
    retried_plainly,
)
from bench.suites.suite import Bench, Case, Suite, always
from scheduler_repo.database.engine import driver_connection
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.metrics import DomainType, MetricArgs, MetricPolicy
from scheduler_repo.resilience.policies.retry import RetryPolicy
from scheduler_repo.resilience.policies.timeout import TimeoutPolicy
from scheduler_repo.resilience.resilience import Policy, Resilience

# A turn is over before the operating system gives the processor to another process.
_CALLS: Final = 50
_SELECTS: Final = 10
_SELECT: Final = "select"


async def _bare(number: int) -> int:
    return number


def _surrounded(*policies: Policy) -> NumberedCall:
    return Resilience(policies).apply(OperationKind.READ)(_bare)


def _calls() -> dict[str, tuple[NumberedCall, NumberedCall]]:
    """Return each call within the engine's policies, and within what one would write by hand."""
    source: NumberedCall = layer_resilience(LayerType.SESSION_DB_SOURCE).apply(OperationKind.READ)(_bare)

    @layer_resilience(LayerType.SESSION_REPOSITORY, retries=False).apply(OperationKind.READ)
    async def repository(number: int) -> int:
        return await source(number)

    metrics = MetricPolicy(MetricArgs(domain=DomainType.CLIENT, layer="bench"))
    plain_source = retried_plainly(bounded_plainly(counted_plainly(_bare)))
    return {
        "no policy": (_surrounded(), passed_on_plainly(_bare)),
        "metrics alone": (_surrounded(metrics), counted_plainly(_bare)),
        "deadline alone": (_surrounded(TimeoutPolicy()), bounded_plainly(_bare)),
        "retries alone": (_surrounded(RetryPolicy()), retried_plainly(_bare)),
        "one layer": (source, plain_source),
        "two layers": (repository, bounded_plainly(counted_plainly(plain_source))),
    }


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure one call that does nothing, within more and more; ``floor`` is the call alone."""
    async with (
        place_on(bench.server) as place,
        place.engine() as engine,
        counted_wire(place.url) as wire,
    ):

        async def select() -> None:
            for _ in range(_SELECTS):
                async with engine.begin_readonly_session() as db_sess:
                    await driver_connection(db_sess).fetchval("SELECT 1")

        for name, (call, plain_call) in _calls().items():
            calls = {FLOOR: _bare, ENGINE: call, PLAIN: plain_call}
            sides = {side: Side(_repeated(each), parts=1 / _CALLS) for side, each in calls.items()}
            selects = Side(select, parts=1 / _SELECTS)
            # None of them sends anything, which is counted too.
            yield Case(name, {**sides, _SELECT: selects}, sides, wire, figures=_figures)


def _repeated(call: NumberedCall) -> Call:
    async def turn() -> None:
        for number in range(_CALLS):
            await call(number)

    return turn


def _figures(times: Mapping[str, Times], earlier: Mapping[str, CaseResult]) -> dict[str, float]:
    added = times[ENGINE].median_ms - times[FLOOR].median_ms
    select = times[_SELECT].median_ms
    return {"added_us": added * 1000, "select_us": select * 1000, "share_of_a_select": added / select}


OVERHEAD: Final = Suite(
    name="overhead",
    about="the policies around a call: metrics, deadline and retries",
    case_names=always(*_calls()),
    cases=cases,
    turns=20,
)
