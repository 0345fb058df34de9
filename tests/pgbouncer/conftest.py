"""Each PgBouncer that is there, before a migrated database, and engines that go through it."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Optional

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.settings import DatabaseSettings, Pooler, SecretUrl
from tests.pgbouncer.bouncer import BINARIES_VARIABLE, Bouncer, bouncing, found_binaries, version_of
from tests.support.databases import SCHEDULER, Database
from tests.support.fixtures import MakeEngine


def _name(binary: Optional[Path]) -> str:
    return "none" if binary is None else ".".join(map(str, version_of(binary)))


@pytest.fixture
def database_behind(migrated_database: Database) -> Database:
    """The database behind it, given back when it has ended."""
    return migrated_database


@pytest.fixture(params=found_binaries() or [None], ids=_name)
def idle_bouncer(request: pytest.FixtureRequest, database_behind: Database) -> Iterator[Bouncer]:
    """A PgBouncer before the test server, to be started as the test wants it."""
    binary: Optional[Path] = request.param
    if binary is None:
        missing = f"there is no pgbouncer to test with: install it, or name some in {BINARIES_VARIABLE}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with bouncing(binary, database_behind.admin_url) as made:
        yield made


@pytest.fixture
def bouncer(idle_bouncer: Bouncer) -> Bouncer:
    """In transaction mode, with two server connections."""
    idle_bouncer.start()
    return idle_bouncer


@pytest.fixture
async def make_engine(idle_bouncer: Bouncer, database_behind: Database) -> AsyncIterator[MakeEngine]:
    """Makes engines by way of the PgBouncer, or of ``url``; other settings as the test wants them."""
    made: list[ExtendedAsyncSAEngine] = []

    def make(
        url: Optional[str] = None, pooler: Optional[Pooler] = "transaction", **bounds: float
    ) -> ExtendedAsyncSAEngine:
        place = idle_bouncer.url_of(database_behind.url_as(SCHEDULER)) if url is None else url
        settings = DatabaseSettings(url=SecretUrl(place), pooler=pooler)
        made.append(create_engine(msgspec.structs.replace(settings, **bounds)))
        return made[-1]

    yield make
    for engine in made:
        await engine.dispose()


@pytest.fixture
def notes(notes_database: Database) -> Database:
    """The database with a table that the scheduler role may write notes to."""
    return notes_database
