"""Arrays of PostgreSQL's own types: a new connection knows them without a question."""

from collections.abc import Iterable, Mapping
from types import SimpleNamespace

import asyncpg
import pytest

from scheduler_repo.database.array_types import describe_arrays
from scheduler_repo.database.engine import create_engine, driver_connection
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import SCHEDULER, Database

VALUES = {
    "boolean": "{t,f,NULL}",
    '"char"': "{a,NULL}",
    "smallint": "{1,NULL,-3}",
    "integer": "{1,NULL,-3}",
    "bigint": "{9223372036854775807,NULL}",
    "timestamptz": '{"2020-02-29 12:00:00+00",NULL}',
    "uuid": "{00000000-0000-0000-0000-000000000001,NULL}",
    "text": '{"a,b",NULL}',
}


async def test_a_new_connection_asks_nothing_about_them(
    migrated_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given what a connection of the driver alone makes of them, after it has asked
    query = "SELECT " + ", ".join(f"'{value}'::{name}[]" for name, value in VALUES.items())
    back = "SELECT " + ", ".join(f"${n}::{name}[]::text" for n, name in enumerate(VALUES, 1))
    async with migrated_database.driver_as(SCHEDULER) as plain:
        expected = tuple(await plain.fetchrow(query) or ())
    # When the engine's new connection must not ask
    monkeypatch.delattr(asyncpg.Connection, "_introspect_types")
    engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER))))
    async with engine.begin_readonly_session() as db_sess:
        driver = driver_connection(db_sess)
        read = tuple(await driver.fetchrow(query) or ())
        written = tuple(await driver.fetchrow(back, *read) or ())
    await engine.dispose()
    # Then it reads the same, and writes them as the server shows them
    assert read == expected
    assert written == tuple(VALUES.values())


class _Protocol:
    def __init__(self, settings: object) -> None:
        self.get_settings = lambda: settings


class _OtherRecords:
    def register_data_types(self, types: Iterable[Mapping[str, object]]) -> None:
        for each in types:
            each["what a later driver wants to know"]


@pytest.mark.parametrize(
    "driver",
    [
        SimpleNamespace(),
        SimpleNamespace(_protocol=object()),
        SimpleNamespace(_protocol=_Protocol(object())),
        SimpleNamespace(_protocol=_Protocol(SimpleNamespace(register_data_types=lambda: None))),
        SimpleNamespace(_protocol=_Protocol(_OtherRecords())),
    ],
    ids=["no protocol", "no settings", "no registering", "other arguments", "other records"],
)
def test_a_driver_that_cannot_be_told_is_left_to_ask(driver: "asyncpg.Connection[asyncpg.Record]") -> None:
    describe_arrays(driver)
