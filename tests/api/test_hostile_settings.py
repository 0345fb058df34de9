"""What a database sets for its sessions changes no answer of any method."""

from collections.abc import AsyncIterator
from typing import Final

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.entities.slot_type import SlotTypeSpec
from scheduler_repo.errors import DatabaseReadOnly, InvalidInput
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import SlotName
from tests.api.statement_table import CASES, fill_table
from tests.api.world import World
from tests.support.databases import ADMIN, SCHEDULER, Database

fill_table()

SETTINGS: Final = {
    "array_nulls": "off",
    "backslash_quote": "off",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "DateStyle": "German, DMY",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "IntervalStyle": "sql_standard",
    "lock_timeout": "1ms",
    "plan_cache_mode": "force_generic_plan",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "search_path": "nowhere, public",
    "standard_conforming_strings": "off",
    "statement_timeout": "5s",
    "TimeZone": "Australia/Lord_Howe",
    "transform_null_equals": "on",
}


async def make_hostile(database: Database, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        text = value if name == "search_path" else f"'{value}'"
        await database.run_as(ADMIN, f"ALTER DATABASE {database.name} SET {name} = {text}")


class TestHostileSettings:
    @pytest.fixture
    async def engine(self, fresh_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        async with fresh_database.driver_as(ADMIN) as driver:
            plans = await driver.fetch(
                "SELECT name FROM pg_settings WHERE starts_with(name, 'enable_') AND vartype = 'bool'"
            )
        await make_hostile(fresh_database, SETTINGS | {row["name"]: "off" for row in plans})
        engine = create_engine(DatabaseSettings(url=SecretUrl(fresh_database.url_as(SCHEDULER))))
        yield engine
        await engine.dispose()

    async def test_change_nothing(self, engine: ExtendedAsyncSAEngine) -> None:
        world = World(engine)
        await world.settle()
        failed = {}
        for case in CASES.values():
            await world.recover()
            try:
                await (await case.prepare(world, 2))
            except Exception as error:  # noqa: BLE001 - each failure is named below
                failed[case.label] = repr(error)
        assert failed == {}

    async def test_are_there(self, engine: ExtendedAsyncSAEngine, fresh_database: Database) -> None:
        async with fresh_database.driver_as(SCHEDULER) as driver:
            assert await driver.fetchval("SHOW array_nulls") == "off"
        async with engine.begin_session() as db_sess:
            driver = driver_connection(db_sess)
            assert await driver.fetchval("SHOW array_nulls") == "on"
            assert await driver.fetchval("SHOW transaction_isolation") == "read committed"
            assert await driver.fetchval("SELECT now()::text LIKE '%+00'")

    async def test_a_database_that_is_to_be_read_only_says_so(self, fresh_database: Database) -> None:
        await make_hostile(fresh_database, {"default_transaction_read_only": "on"})
        engine = create_engine(DatabaseSettings(url=SecretUrl(fresh_database.url_as(SCHEDULER))))
        with pytest.raises(DatabaseReadOnly):
            await World(engine).settle()
        await engine.dispose()


class TestSlotTypes:
    async def test_the_65th_is_refused_with_advice(self, engine: ExtendedAsyncSAEngine) -> None:
        groups = ScalingGroupRepository(ScalingGroupDBSource(engine))
        named = [SlotTypeSpec(name=SlotName(f"slot-{number}")) for number in range(65)]
        with pytest.raises(InvalidInput, match="more than the 64"):
            await groups.register_slot_types(named)
        assert len(await groups.register_slot_types(named[:64])) == 64
        with pytest.raises(InvalidInput, match=r"slot-64.*64 are more than the 64"):
            await groups.register_slot_types(named[64:])
        assert len(await groups.register_slot_types(named[:3])) == 64
