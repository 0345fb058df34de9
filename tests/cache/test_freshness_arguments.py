"""What a caller says of an answer's freshness is kept, or refused; never ignored."""

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import fields
from typing import Final

import pytest

from scheduler_repo.connection import Repositories, open_repositories
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_token import Writes
from scheduler_repo.errors import InvalidInput, WriteNotSeen
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.types import TransactionId
from tests.api.public_methods import public_classes
from tests.support.databases import SCHEDULER, Database
from tests.support.small_cluster import GROUP
from tests.support.waiting import PATIENCE

Read = Callable[..., Coroutine[None, None, object]]
STALENESS: Final = "max_staleness"
AFTER: Final = "after"
NEVER: Final = TransactionId(2**62)


def taking(repos: Repositories, argument: str) -> dict[str, Read]:
    """Every public method that takes an argument of this name, of freshness."""

    def found() -> Iterator[tuple[str, Read]]:
        for field in fields(repos):
            repository = getattr(repos, field.name)
            if isinstance(repository, Repository):
                for name, method in inspect.getmembers(repository, inspect.iscoroutinefunction):
                    parameter = inspect.signature(method).parameters.get(argument)
                    if parameter is not None and not name.startswith("_"):
                        yield f"{field.name}.{name}", method

    return dict(found())


@pytest.fixture
async def without_cache(loaded: Database) -> AsyncIterator[Repositories]:
    async with open_repositories(loaded.url_as(SCHEDULER)) as repos:
        yield repos


@pytest.fixture
async def with_cache(loaded: Database, redis_url: str) -> AsyncIterator[Repositories]:
    async with open_repositories(loaded.url_as(SCHEDULER), redis_url, redis_timeout=PATIENCE) as repos:
        yield repos


class TestStaleness:
    async def test_without_a_cache_it_is_refused(self, without_cache: Repositories) -> None:
        reads = taking(without_cache, STALENESS)
        assert len(reads) >= 3
        for read in reads.values():
            with pytest.raises(InvalidInput, match=r"max_staleness is 30, and there is no cache"):
                await read(GROUP, max_staleness=30)
            # None is allowed, which the database keeps.
            await read(GROUP, max_staleness=0)

    async def test_beside_what_no_cache_answers_it_is_refused(self, with_cache: Repositories) -> None:
        for read in taking(with_cache, "pending_limit").values():
            with pytest.raises(InvalidInput, match="pending_limit"):
                await read(GROUP, max_staleness=30, pending_limit=3)

    def test_other_words_for_it_are_not_in_use(self) -> None:
        """Else the tests above would miss them."""
        words = {
            parameter
            for owner in public_classes()
            for _, method in inspect.getmembers(owner, inspect.iscoroutinefunction)
            for parameter in inspect.signature(method).parameters
        }
        assert {word for word in words if "stale" in word or "fresh" in word or "max_age" in word} == {
            STALENESS
        }


class TestAfter:
    @pytest.fixture(params=["without_cache", "with_cache"])
    def repos(self, request: pytest.FixtureRequest) -> Repositories:
        made: Repositories = request.getfixturevalue(request.param)
        return made

    async def test_a_write_that_was_not_seen(self, repos: Repositories) -> None:
        reads = {name: read for name, read in taking(repos, AFTER).items() if name.startswith("scheduler.")}
        assert len(reads) == 2
        for read in reads.values():
            for more in ({}, {"pending_limit": 3}):
                with pytest.raises(WriteNotSeen, match=f"{NEVER}"):
                    await read(GROUP, after=NEVER, **more)

    async def test_a_write_that_was_seen(self, repos: Repositories, loaded: Database) -> None:
        async with loaded.driver_as(SCHEDULER) as driver:
            written = TransactionId(int(await driver.fetchval("SELECT pg_current_xact_id()::text")))
        data = await repos.scheduler.get_scheduling_data(GROUP, after=written)
        assert isinstance(data, SchedulingData)
        assert data.has_seen(written)

    async def test_several_of_which_one_was_not_seen(self, repos: Repositories, loaded: Database) -> None:
        async with loaded.driver_as(SCHEDULER) as driver:
            written = TransactionId(int(await driver.fetchval("SELECT pg_current_xact_id()::text")))
        assert (await repos.scheduler.get_scheduling_data(GROUP, after=(written,))).has_seen(written)
        for after in ((written, NEVER), {NEVER, written}):
            with pytest.raises(WriteNotSeen, match=f"{NEVER}"):
                await repos.scheduler.get_scheduling_data(GROUP, after=after)

    @pytest.mark.parametrize("after", ["7", -1, 7.0, True, ("7",), [None], b"7"])
    async def test_what_is_no_transaction(self, repos: Repositories, after: Writes) -> None:
        with pytest.raises(InvalidInput, match="after is"):
            await repos.scheduler.get_scheduling_data(GROUP, after=after)
