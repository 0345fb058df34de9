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
from tests.support.databases import OWNER, SCHEDULER, Database
from tests.support.fixtures import MakeEngine


def _name(binary: Optional[Path]) -> str:
    return "none" if binary is None else ".".join(map(str, version_of(binary)))


@pytest.fixture(params=found_binaries() or [None], ids=_name)
def idle_bouncer(request: pytest.FixtureRequest, migrated_database: Database) -> Iterator[Bouncer]:
    """A PgBouncer before the test server, to be started as the test wants it."""
    binary: Optional[Path] = request.param
    if binary is None:
        missing = f"there is no pgbouncer to test with: install it, or name some in {BINARIES_VARIABLE}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with bouncing(binary, migrated_database.admin_url) as made:
        yield made


@pytest.fixture
def bouncer(idle_bouncer: Bouncer) -> Bouncer:
    """In transaction mode, with two server connections."""
    idle_bouncer.start()
    return idle_bouncer


@pytest.fixture
async def make_engine(idle_bouncer: Bouncer, migrated_database: Database) -> AsyncIterator[MakeEngine]:
    """Makes engines by way of the PgBouncer, or of ``url``; other settings as the test wants them."""
    made: list[ExtendedAsyncSAEngine] = []

    def make(
        url: Optional[str] = None, pooler: Optional[Pooler] = "transaction", **bounds: float
    ) -> ExtendedAsyncSAEngine:
        place = idle_bouncer.url_of(migrated_database.url_as(SCHEDULER)) if url is None else url
        settings = DatabaseSettings(url=SecretUrl(place), pooler=pooler)
        made.append(create_engine(msgspec.structs.replace(settings, **bounds)))
        return made[-1]

    yield make
    for engine in made:
        await engine.dispose()


@pytest.fixture
async def notes(migrated_database: Database) -> Database:
    """The database with a table that the scheduler role may write notes to."""
    await migrated_database.run_as(
        OWNER,
        "CREATE TABLE notes (id int PRIMARY KEY, words text NOT NULL);"
        f"GRANT SELECT, INSERT, UPDATE ON notes TO {SCHEDULER}",
    )
    return migrated_database
