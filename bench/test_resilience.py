"""What the resilience around a call costs when nothing fails, against a SELECT 1 through the engine."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from bench.turns import Alternative, medians_in_turns
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.metrics import DomainType, MetricArgs, MetricPolicy
from scheduler_repo.resilience.policies.retry import RetryPolicy
from scheduler_repo.resilience.policies.timeout import TimeoutPolicy
from scheduler_repo.resilience.resilience import Policy, Resilience
from scheduler_repo.settings import DatabaseSettings, SecretUrl

# A turn is over before the operating system gives the processor to another process.
CALLS = 50
SELECTS = 10
ROUNDS = 20
# Of a SELECT 1, by one layer with metrics, deadline and retries.
LARGEST_SHARE = 0.05

Call = Callable[[int], Awaitable[int]]


async def bare(number: int) -> int:
    return number


def surrounded(*policies: Policy) -> Call:
    return Resilience(policies).apply(OperationKind.READ)(bare)


def repeated(call: Call, times: int) -> Alternative:
    """Make a turn of many calls."""

    async def turn() -> None:
        for number in range(times):
            await call(number)

    return turn


class TestResilience:
    @pytest.fixture
    def engine(self, runner: asyncio.Runner, server: EmbeddedPostgres) -> Iterator[ExtendedAsyncSAEngine]:
        """An engine on the server's own database."""
        made = create_engine(DatabaseSettings(url=SecretUrl(server.url("postgres", "postgres"))))
        yield made
        runner.run(made.dispose())

    def test_share_of_a_select(self, runner: asyncio.Runner, engine: ExtendedAsyncSAEngine) -> None:
        # given
        async def select(number: int) -> int:
            async with engine.begin_readonly_session() as db_sess:
                return int(await driver_connection(db_sess).fetchval("SELECT 1")) + number

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
            "one layer": source,
            "two layers": repository,
        }
        turns = {name: repeated(call, CALLS) for name, call in calls.items()}
        # when
        medians = runner.run(medians_in_turns(turns | {"SELECT 1": repeated(select, SELECTS)}, ROUNDS))
        # then
        selected = medians.pop("SELECT 1") / SELECTS
        shares = {name: (taken - medians["bare"]) / CALLS / selected for name, taken in medians.items()}
        print(f"\nof a SELECT 1 of {selected * 1000:.0f} microseconds, more than the bare call:")
        for name, share in shares.items():
            print(f"  {name:24}{share:8.2%}")
        assert shares["one layer"] <= LARGEST_SHARE
