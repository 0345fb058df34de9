"""A server that has run out of something: each kind has a class, and advice that says what to do."""

import asyncpg
import pytest

from scheduler_repo import errors
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.database.errors import translate_error
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.transient import is_transient
from tests.support.databases import ADMIN, Database

# Class 53 of the server's codes, as the driver knows them.
EXHAUSTED = {
    str(kind.sqlstate): kind
    for kind in (asyncpg.InsufficientResourcesError, *asyncpg.InsufficientResourcesError.__subclasses__())
}


class TestClasses:
    def test_each_code_has_one_of_its_own(self) -> None:
        found = {sqlstate: translate_error(kind("none left")) for sqlstate, kind in EXHAUSTED.items()}
        assert len(found) >= 5
        assert len({type(error) for error in found.values()}) == len(found)
        for sqlstate, error in found.items():
            assert isinstance(error, errors.DatabaseExhausted), sqlstate
            assert sqlstate in str(error)
            assert len(str(error).partition(": ")[2]) > 20, sqlstate
            assert not isinstance(error, errors.BusinessError)

    @pytest.mark.parametrize("kind", OperationKind)
    def test_only_the_crowd_passes_in_a_moment(self, kind: OperationKind) -> None:
        passing = set()
        for cause in EXHAUSTED.values():
            error = translate_error(cause("none left"))
            assert error is not None
            error.__cause__ = cause("none left")
            if is_transient(error, kind):
                passing.add(type(error))
        assert passing == {errors.TooManyConnections}


class TestOnAServer:
    async def _write(self, engine: ExtendedAsyncSAEngine, statement: str) -> None:
        async with engine.begin_session() as db_sess:
            await driver_connection(db_sess).execute(statement)

    async def test_limit_of_the_configuration(
        self, engine: ExtendedAsyncSAEngine, notes_database: Database
    ) -> None:
        await notes_database.run_as(ADMIN, f"ALTER DATABASE {notes_database.name} SET temp_file_limit = 0")
        spill = "SET LOCAL work_mem = '64kB'; SELECT FROM generate_series(1, 200000) AS n ORDER BY n DESC"
        with pytest.raises(errors.ConfigurationLimitReached, match="temp_file_limit"):
            await self._write(engine, spill)

    async def test_full_disk(self, engine: ExtendedAsyncSAEngine) -> None:
        fail = "DO $$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$"
        with pytest.raises(errors.DiskFull, match="make room"):
            await self._write(engine, fail)
        await self._write(engine, "SELECT 1")
