"""What the resilience around a call costs when nothing fails, against the same call without it, in turns."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from statistics import median
from time import perf_counter

from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.metrics import DomainType, MetricArgs, MetricPolicy
from scheduler_repo.resilience.policies.retry import RetryPolicy
from scheduler_repo.resilience.policies.timeout import TimeoutPolicy
from scheduler_repo.resilience.resilience import Policy, Resilience

# A round is over before the operating system gives the processor to another process.
CALLS = 50
ROUNDS = 400
# Microseconds a call, with metrics, deadline and retries.
LONGEST = 20.0

Call = Callable[[int], Awaitable[int]]


async def bare(number: int) -> int:
    return number


def surrounded(*policies: Policy) -> Call:
    return Resilience(policies).apply(OperationKind.READ)(bare)


async def microseconds_in_turns(calls: Mapping[str, Call]) -> dict[str, float]:
    """The median time of one call of each, measured in turns, as a noisy machine treats neighbours alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = perf_counter()
            for number in range(CALLS):
                await call(number)
            times[name].append((perf_counter() - started) * 1_000_000 / CALLS)
    return {name: median(values) for name, values in times.items()}


class TestResilience:
    def test_cost_of_a_call_that_does_not_fail(self, runner: asyncio.Runner) -> None:
        # given
        source: Call = layer_resilience(LayerType.SESSION_DB_SOURCE).apply(OperationKind.READ)(bare)

        @layer_resilience(LayerType.SESSION_REPOSITORY, retries=False).apply(OperationKind.READ)
        async def repository(number: int) -> int:
            return await source(number)

        metrics = MetricPolicy(MetricArgs(domain=DomainType.CLIENT, layer="bench"))
        calls: dict[str, Call] = {
            "bare": bare,
            "no policy": surrounded(),
            "metrics alone": surrounded(metrics),
            "deadline alone": surrounded(TimeoutPolicy()),
            "retries alone": surrounded(RetryPolicy()),
            "source": source,
            "repository and source": repository,
        }
        # when
        medians = runner.run(microseconds_in_turns(calls))
        # then
        costs = {name: microseconds - medians["bare"] for name, microseconds in medians.items()}
        print("\nmicroseconds a call, more than the bare call:")
        for name, cost in costs.items():
            print(f"  {name:24}{cost:6.1f}")
        assert costs["source"] < LONGEST
