"""Suite ``overhead``: what the policies around a call cost when nothing fails, against a SELECT 1."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Final

from bench.data.servers import place_on
from bench.measure.results import ENGINE, FLOOR, CaseResult
from bench.measure.turns import Call, Side, Times
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
_Numbered = Callable[[int], Awaitable[int]]


async def _bare(number: int) -> int:
    return number


def _surrounded(*policies: Policy) -> _Numbered:
    return Resilience(policies).apply(OperationKind.READ)(_bare)


def _calls() -> dict[str, _Numbered]:
    source: _Numbered = layer_resilience(LayerType.SESSION_DB_SOURCE).apply(OperationKind.READ)(_bare)

    @layer_resilience(LayerType.SESSION_REPOSITORY, retries=False).apply(OperationKind.READ)
    async def repository(number: int) -> int:
        return await source(number)

    metrics = MetricPolicy(MetricArgs(domain=DomainType.CLIENT, layer="bench"))
    return {
        "no policy": _surrounded(),
        "metrics alone": _surrounded(metrics),
        "deadline alone": _surrounded(TimeoutPolicy()),
        "retries alone": _surrounded(RetryPolicy()),
        "one layer": source,
        "two layers": repository,
    }


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure one call that does nothing, within more and more; ``floor`` is the call alone."""
    async with place_on(bench.server) as place, place.engine() as engine:

        async def select() -> None:
            for _ in range(_SELECTS):
                async with engine.begin_readonly_session() as db_sess:
                    await driver_connection(db_sess).fetchval("SELECT 1")

        for name, call in _calls().items():
            sides = {
                FLOOR: Side(_repeated(_bare), parts=1 / _CALLS),
                ENGINE: Side(_repeated(call), parts=1 / _CALLS),
                _SELECT: Side(select, parts=1 / _SELECTS),
            }
            yield Case(name, sides, figures=_figures)


def _repeated(call: _Numbered) -> Call:
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
