"""Policies with the specification's own arguments, around a source's method."""

from typing import Optional

import pytest
from prometheus_client import REGISTRY

from scheduler_repo import (
    BackoffStrategy,
    BusinessError,
    DatabaseError,
    DatabaseUnavailable,
    DomainType,
    LayerType,
    MetricArgs,
    MetricPolicy,
    Resilience,
    RetryArgs,
    RetryPolicy,
    SessionId,
    SessionNotFound,
    retry_waits_disabled,
)

session_repository_resilience = Resilience(
    policies=[
        MetricPolicy(
            MetricArgs(
                domain=DomainType.REPOSITORY,
                layer=LayerType.SESSION_REPOSITORY,
            )
        ),
        RetryPolicy(
            RetryArgs(
                max_retries=10,
                retry_delay=0.1,
                backoff_strategy=BackoffStrategy.FIXED,
                non_retryable_exceptions=(BusinessError,),
            )
        ),
    ]
)


class FailingSource:
    """Fails as often as it is told to, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)

    @session_repository_resilience.apply()
    async def get_name_of_session(self, session_id: Optional[SessionId] = None) -> str:
        if self._failures:
            raise self._failures.pop(0)
        return "train"


def figure(name: str, operation: str = "get_name_of_session", **labels: str) -> float:
    """A metric's value, 0 where it was never counted."""
    every = {"domain": "repository", "layer": "session_repository", "operation": operation, **labels}
    return REGISTRY.get_sample_value(f"backendai_layer_{name}", every) or 0.0


class TestResilience:
    async def test_a_success_is_counted(self) -> None:
        counted = figure("operation_count_total", success="true")
        timed = figure("operation_duration_sec_count")
        assert await FailingSource().get_name_of_session() == "train"
        assert figure("operation_count_total", success="true") == counted + 1
        assert figure("operation_duration_sec_count") == timed + 1
        assert figure("operation_triggered_count") == 0

    async def test_what_passes_is_tried_again(self) -> None:
        retried = figure("retry_count_total")
        with retry_waits_disabled():
            assert await FailingSource(*[ConnectionRefusedError()] * 10).get_name_of_session() == "train"
        assert figure("retry_count_total") == retried + 10

    async def test_so_is_what_the_engine_makes_of_it(self) -> None:
        lost = DatabaseUnavailable("the connection to the database failed")
        lost.__cause__ = ConnectionRefusedError()
        with retry_waits_disabled():
            assert await FailingSource(lost, lost).get_name_of_session() == "train"

    async def test_at_most_ten_times(self) -> None:
        failed = figure("operation_error_count_total", error_code="ConnectionRefusedError")
        with retry_waits_disabled(), pytest.raises(ConnectionRefusedError):
            await FailingSource(*[ConnectionRefusedError()] * 11).get_name_of_session()
        assert figure("operation_error_count_total", error_code="ConnectionRefusedError") == failed + 1

    async def test_a_business_error_is_not_tried_again(self) -> None:
        retried = figure("retry_count_total")
        failed = figure("operation_error_count_total", error_code="SessionNotFound")
        with pytest.raises(SessionNotFound):
            await FailingSource(SessionNotFound("there is none")).get_name_of_session()
        assert figure("retry_count_total") == retried
        assert figure("operation_error_count_total", error_code="SessionNotFound") == failed + 1

    def test_no_error_of_a_server_is_a_business_error(self) -> None:
        assert not issubclass(DatabaseError, BusinessError)

    @pytest.mark.parametrize(
        ("domain", "value"),
        [(DomainType.REPOSITORY, "repository"), (DomainType.CLIENT, "client"), (DomainType.VALKEY, "valkey")],
    )
    def test_the_domains(self, domain: DomainType, value: str) -> None:
        assert domain == value

    def test_the_layers_that_are_called_the_same(self) -> None:
        layers = {layer.value for layer in LayerType}
        assert {
            "session_repository",
            "agent_repository",
            "scheduler_db_source",
            "schedule_cache_source",
        } <= layers
