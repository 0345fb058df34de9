"""Every method that takes a batch refuses what is none, or holds what it must not, before any query."""

import importlib
import inspect
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final
from uuid import UUID

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.lifecycle import LostSessionAction
from scheduler_repo.errors import InvalidInput
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.api.public_methods import BATCHES, PublicMethod

# Values for the other parameters that a method needs.
OTHERS: Final[dict[str, object]] = {
    "scaling_group": "batch",
    "is_schedulable": True,
    "longest_silence": timedelta(minutes=1),
    "action": LostSessionAction.FAIL,
    "is_active": True,
}
NOT_A_BATCH: Final = (None, 7, "abc", b"abc", UUID(int=1), {"a": 1}, object())
NOT_AN_ITEM: Final = (None, 7.5, object(), ("a", "b"), {"a": 1})


class TestBatches:
    @pytest.fixture
    async def engine(self) -> AsyncIterator[ExtendedAsyncSAEngine]:
        """An engine whose server is not there: a query would raise another error."""
        engine = create_engine(DatabaseSettings(url=SecretUrl("postgresql://nobody@127.0.0.1:1/none")))
        yield engine
        await engine.dispose()

    @pytest.mark.parametrize(("method", "batch"), BATCHES, ids=[f"{m.label}-{name}" for m, name in BATCHES])
    async def test_are_refused(self, engine: ExtendedAsyncSAEngine, method: PublicMethod, batch: str) -> None:
        sources = importlib.import_module(method.owner.__module__.replace(".repository", ".db_source"))
        source = getattr(sources, method.owner.__name__.replace("Repository", "DBSource"))
        bound = getattr(method.owner(source(engine)), method.name)
        needed = {
            name: OTHERS[name]
            for name, parameter in inspect.signature(method.function).parameters.items()
            if name not in ("self", batch) and parameter.default is parameter.empty
        }
        for bad in (*NOT_A_BATCH, *([item] for item in NOT_AN_ITEM)):
            with pytest.raises(InvalidInput):
                await bound(**needed, **{batch: bad})

    def test_there_are_some(self) -> None:
        assert {
            "AgentRepository.drain_agents",
            "LifecycleRepository.mark_preparing",
            "SchedulerRepository.allocate_sessions",
            "ReservationRepository.release_reservations",
        } <= {method.label for method, _ in BATCHES}
