"""What MetricPolicy exports: names, labels, and a gauge that comes back to where it was."""

import asyncio
import re

import pytest
from prometheus_client import generate_latest

from scheduler_repo.errors import DatabaseUnavailable, DeadlineExceeded, SessionNotFound
from scheduler_repo.resilience.layers import LayerType
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.metrics import (
    DURATIONS,
    OPERATION_ERRORS,
    OPERATIONS,
    RETRIES,
    TRIGGERED,
    DomainType,
    MetricArgs,
)
from scheduler_repo.resilience.policies.retry import RetryArgs, RetryPolicy
from scheduler_repo.resilience.policies.timeout import TimeoutArgs, TimeoutPolicy
from scheduler_repo.resilience.resilience import Resilience
from tests.support.figures import LayerFigures

_FOREVER = 3600.0


class TestScrapedText:
    def test_names_kinds_and_labels(self) -> None:
        """The client library ends a counter's samples in _total, and adds no other."""
        # given
        figures = LayerFigures(domain=DomainType.REPOSITORY)

        @Resilience([figures.policy]).apply()
        async def get_session_by_id(found: bool) -> None:
            if not found:
                raise SessionNotFound("no session 1")

        # when
        asyncio.run(get_session_by_id(True))
        with pytest.raises(SessionNotFound):
            asyncio.run(get_session_by_id(False))
        # then
        lines = generate_latest().decode().splitlines()
        ours = [line for line in lines if f'layer="{figures.layer}"' in line]
        labels = f'domain="repository",layer="{figures.layer}",operation="get_session_by_id"'
        assert f"backendai_layer_operation_triggered_count{{{labels}}} 0.0" in ours
        assert f'backendai_layer_operation_count_total{{{labels},success="true"}} 1.0' in ours
        assert f'backendai_layer_operation_count_total{{{labels},success="false"}} 1.0' in ours
        error = f'domain="repository",error_code="SessionNotFound",{labels.partition(",")[2]}'
        assert f"backendai_layer_operation_error_count_total{{{error}}} 1.0" in ours
        assert f"backendai_layer_retry_count_total{{{labels}}} 0.0" in ours
        assert f"backendai_layer_operation_duration_sec_count{{{labels}}} 2.0" in ours
        bucket = re.escape(f"backendai_layer_operation_duration_sec_bucket{{{labels.partition(',')[0]},")
        assert any(re.match(bucket, line) and 'le="+Inf"' in line for line in ours)
        kinds = {line for line in lines if line.startswith("# TYPE backendai_layer_")}
        assert kinds >= {
            "# TYPE backendai_layer_operation_triggered_count gauge",
            "# TYPE backendai_layer_operation_count_total counter",
            "# TYPE backendai_layer_operation_error_count_total counter",
            "# TYPE backendai_layer_retry_count_total counter",
            "# TYPE backendai_layer_operation_duration_sec histogram",
        }

    def test_names_of_the_metrics_themselves(self) -> None:
        metrics = (TRIGGERED, OPERATIONS, OPERATION_ERRORS, RETRIES, DURATIONS)
        assert [family.name for metric in metrics for family in metric.describe()] == [
            "backendai_layer_operation_triggered_count",
            "backendai_layer_operation_count",
            "backendai_layer_operation_error_count",
            "backendai_layer_retry_count",
            "backendai_layer_operation_duration_sec",
        ]

    def test_domains_and_layers_that_are_asked_for(self) -> None:
        assert set(DomainType) == {"repository", "client", "valkey"}
        assert {"session_repository", "scheduler_db_source", "schedule_cache_source"} <= set(LayerType)
        assert MetricArgs(domain=DomainType.VALKEY, layer=LayerType.VALKEY_CLIENT).layer == "valkey_client"


class TestGauge:
    """In flight while the call is, and not a moment longer, however it ends."""

    @pytest.fixture
    def figures(self) -> LayerFigures:
        return LayerFigures()

    async def test_while_and_after(self, figures: LayerFigures) -> None:
        # given
        release = asyncio.Event()

        @Resilience([figures.policy]).apply()
        async def wait() -> None:
            await release.wait()

        # when
        calls = [asyncio.create_task(wait()) for _ in range(7)]
        await asyncio.sleep(0)
        # then
        assert figures.in_flight("wait") == 7
        # and when
        release.set()
        await asyncio.gather(*calls)
        # then
        assert figures.in_flight("wait") == 0
        assert (figures.ended("wait", True), figures.durations("wait")) == (7, 7)

    async def test_after_an_error(self, figures: LayerFigures) -> None:
        @Resilience([figures.policy]).apply()
        async def fail() -> None:
            raise LookupError

        with pytest.raises(LookupError):
            await fail()

        assert figures.in_flight("fail") == 0
        assert (figures.ended("fail", False), figures.ended("fail", True)) == (1, 0)
        assert figures.errors("fail", "LookupError") == 1
        assert figures.durations("fail") == 1

    async def test_after_a_cancel(self, figures: LayerFigures) -> None:
        # given
        @Resilience([figures.policy]).apply()
        async def wait() -> None:
            await asyncio.Event().wait()

        calls = [asyncio.create_task(wait()) for _ in range(3)]
        await asyncio.sleep(0)
        # when
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        # then
        assert all(call.cancelled() for call in calls)
        assert figures.in_flight("wait") == 0
        assert figures.errors("wait", "CancelledError") == 3

    async def test_after_retries(self, figures: LayerFigures) -> None:
        # given
        tries: list[float] = []
        retry = RetryPolicy(RetryArgs(max_retries=3, retry_delay=0.001, is_retryable=lambda error, kind: True))

        @Resilience([figures.policy, retry]).apply()
        async def fail() -> None:
            tries.append(figures.in_flight("fail"))
            raise DatabaseUnavailable("gone")

        # when
        with pytest.raises(DatabaseUnavailable):
            await fail()
        # then one operation with four tries
        assert tries == [1, 1, 1, 1]
        assert figures.in_flight("fail") == 0
        assert figures.retries("fail") == 3
        assert (figures.ended("fail", False), figures.errors("fail", "DatabaseUnavailable")) == (1, 1)

    async def test_after_a_cancel_between_two_tries(self, figures: LayerFigures) -> None:
        # given a call that waits before its first retry
        failed = asyncio.Event()
        args = RetryArgs(max_retries=1, retry_delay=_FOREVER, is_retryable=lambda error, kind: True)

        @Resilience([figures.policy, TimeoutPolicy(), RetryPolicy(args)]).apply()
        async def fail() -> None:
            failed.set()
            raise DatabaseUnavailable("gone")

        call = asyncio.create_task(fail())
        await failed.wait()
        await asyncio.sleep(0)
        assert figures.in_flight("fail") == 1
        # when
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # then no retry was made
        assert figures.in_flight("fail") == 0
        assert figures.retries("fail") == 0
        assert figures.errors("fail", "CancelledError") == 1

    async def test_after_the_deadline(self, figures: LayerFigures) -> None:
        @Resilience([figures.policy, TimeoutPolicy(TimeoutArgs(deadline=0.01))]).apply()
        async def wait() -> None:
            await asyncio.Event().wait()

        with pytest.raises(DeadlineExceeded, match=r"deadline of 0\.01 s"):
            await wait()

        assert figures.in_flight("wait") == 0
        assert figures.errors("wait", "DeadlineExceeded") == 1


class TestNestedLayers:
    async def test_each_counts_its_own(self) -> None:
        """The source retries; the repository around it counts one call, and no retry."""
        # given
        source, repository = LayerFigures(), LayerFigures()
        retry = RetryPolicy(RetryArgs(retry_delay=0.001, is_retryable=lambda error, kind: True))
        failures = iter([True, True, False])

        @Resilience([source.policy, retry]).apply(OperationKind.READ)
        async def fetch() -> str:
            if next(failures):
                raise DatabaseUnavailable("gone")
            return "found"

        @Resilience([repository.policy]).apply(OperationKind.READ)
        async def get() -> str:
            return await fetch()

        # when
        assert await get() == "found"
        # then
        assert (source.retries("fetch"), repository.retries("get")) == (2, 0)
        assert (source.ended("fetch", True), repository.ended("get", True)) == (1, 1)

    async def test_one_layer_has_many_operations(self) -> None:
        # given
        figures = LayerFigures()
        resilience = Resilience([figures.policy])

        @resilience.apply()
        async def one() -> None: ...

        @resilience.apply()
        async def other() -> None: ...

        # when
        await one()
        await one()
        await other()
        # then
        assert (figures.ended("one", True), figures.ended("other", True)) == (2, 1)
