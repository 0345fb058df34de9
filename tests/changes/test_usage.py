"""What owners occupy by the log is what a count of all that runs says, whatever was written, in any order."""

import random
from contextlib import AsyncExitStack
from typing import Final

import pytest

from tests.changes.usage import COUNTED, KEPT, OWNERS, add_session, read_usage
from tests.support.databases import OWNER, Database, DriverConnection
from tests.support.own_server import own_database

_LARGEST: Final = 2**63 - 1


def _session(rng: random.Random, number: int) -> str:
    key, project = rng.randrange(3), rng.randrange(2)
    owners = f"'gpu', 'k{key}', lpad('{key}', 32, '0')::uuid, lpad('{project}', 32, '0')::uuid, 'd{project}'"
    columns = "scaling_group, access_key, user_id, project_id, domain_name"
    status, agent = rng.choice([("PENDING", "NULL"), ("RUNNING", "'a1'")])
    slots = "'{}'" if status == "PENDING" else _slots(rng)
    return (
        f"INSERT INTO sessions (id, name, {columns}, session_type, cluster_mode, status)"
        f" VALUES ({_id(number)}, 's', {owners}, 'BATCH', 'MULTI_NODE', '{status}');"
        f"INSERT INTO kernels (id, session_id, kernel_index, {columns}, requested_slots, occupied_slots,"
        f" status, agent_id) SELECT gen_random_uuid(), {_id(number)}, n, {owners}, '{{}}', {slots}, '{status}',"
        f" {agent}"
        f" FROM generate_series(0, {rng.randrange(3)}) AS n"
    )


def _id(number: int) -> str:
    return f"lpad('{number}', 32, '0')::uuid"


def _slots(rng: random.Random) -> str:
    amounts = rng.choice(
        [[], [rng.randrange(9)], [0, 0], [rng.randrange(9) for _ in range(10)], [_LARGEST] * 9]
    )
    return f"ARRAY{amounts}::bigint[]"


def _write(rng: random.Random, number: int, *, may_truncate: bool = False) -> str:
    """A statement, or a few, of any client."""
    some = f"(SELECT id FROM sessions ORDER BY md5(id::text || '{rng.random()}') LIMIT {rng.randint(1, 4)})"
    status = rng.choice(["SCHEDULED", "RUNNING", "TERMINATING", "TERMINATED", "ERROR"])
    statements = (
        _session(rng, number),
        f"UPDATE sessions SET status = '{status}' WHERE id IN {some};"
        f"UPDATE kernels SET status = '{status}', agent_id = 'a1', occupied_slots = {_slots(rng)}"
        f" WHERE session_id IN {some}",
        "UPDATE kernels SET status = 'PENDING', agent_id = NULL, occupied_slots = '{}'"
        f" WHERE session_id IN {some}",
        f"UPDATE kernels SET occupied_slots = {_slots(rng)}, access_key = 'k1'"
        f" WHERE session_id IN {some} AND agent_id = 'a1'",
        f"UPDATE sessions SET access_key = 'k2', user_id = {_id(2)} WHERE id IN {some}",
        f"UPDATE sessions SET id = gen_random_uuid() WHERE id IN {some} AND NOT EXISTS"
        " (SELECT FROM kernels AS k WHERE k.session_id = sessions.id)",
        f"DELETE FROM sessions WHERE id IN {some}",
        f"MERGE INTO kernels AS k USING {some} AS s ON s.id = k.session_id WHEN MATCHED THEN DELETE",
        "TRUNCATE kernels CASCADE" if may_truncate and rng.random() < 0.3 else "SELECT",
        "TRUNCATE sessions CASCADE" if may_truncate and rng.random() < 0.1 else "SELECT",
    )
    return rng.choice(statements)


class TestUsage:
    @pytest.mark.parametrize(
        ("seed", "writes"),
        [(0, 40), *(pytest.param(seed, 300, marks=pytest.mark.slow) for seed in range(1, 5))],
    )
    async def test_is_what_runs(self, migrated_database: Database, seed: int, writes: int) -> None:
        """Three clients write in transactions that overlap; one folds, a few rows at a time, and trims."""
        rng = random.Random(seed)  # noqa: S311 - the same each time
        async with AsyncExitStack() as stack:
            observer, *writers = [
                await stack.enter_async_context(migrated_database.driver_as(OWNER)) for _ in range(4)
            ]
            await observer.execute(OWNERS)
            open_now: set[DriverConnection] = set()
            folds = 0
            for number in range(writes):
                if number == writes // 2:
                    # With few slot types, the first slots are added up otherwise than those behind them.
                    await observer.execute("DELETE FROM slot_types WHERE slot_index > 3")
                writer = rng.choice(writers)
                if writer not in open_now and rng.random() < 0.5:
                    await writer.execute("BEGIN")
                    open_now.add(writer)
                if writer in open_now and rng.random() < 0.3:
                    await writer.execute(rng.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
                    open_now.discard(writer)
                elif len(open_now - {writer}) == 0:
                    # Nobody else holds a row, so nobody waits.
                    if writer in open_now and rng.random() < 0.3:
                        await writer.execute(f"SAVEPOINT one; {_write(rng, 2 * number + 1)}; ROLLBACK TO one")
                    await writer.execute(_write(rng, 2 * number, may_truncate=writer not in open_now))
                else:
                    await writer.execute(_session(rng, 2 * number))
                if rng.random() < 0.3:
                    folds += bool(await observer.fetchval(f"SELECT fold_usage({rng.randint(1, 5)})"))
                if rng.random() < 0.1:
                    await observer.fetchval("SELECT trim_changes('0', 5)")
                async with observer.transaction(isolation="repeatable_read"):
                    assert await read_usage(observer, KEPT) == await read_usage(observer, COUNTED), number
                # A writer sees what it wrote itself.
                assert await read_usage(writer, KEPT) == await read_usage(writer, COUNTED), number
            assert folds > 3

    async def test_is_counted_where_most_rows_of_an_update_change_nothing(
        self, migrated_database: Database
    ) -> None:
        """The last of thirty kernels ends, changes hands or size, or two swap owners; the first stay."""
        first, before_last, last = (_id(n) for n in (1, 29, 30))
        changes = (
            f"status = CASE id WHEN {last} THEN 'TERMINATED' ELSE 'TERMINATING' END",
            f"access_key = CASE id WHEN {last} THEN 'k2' ELSE access_key END",
            f"access_key = CASE id WHEN {last} THEN 'k1' WHEN {before_last} THEN 'k0' ELSE access_key END",
            f"occupied_slots = CASE id WHEN {last} THEN '{{7}}' ELSE occupied_slots END",
            "status = 'TERMINATING'",
        )
        async with migrated_database.driver_as(OWNER) as driver:
            await driver.execute(OWNERS)
            await driver.execute(add_session(first, 1, 1))
            await driver.execute(
                "INSERT INTO kernels (id, scaling_group, access_key, user_id, project_id, domain_name, status,"
                " agent_id, session_id, kernel_index, requested_slots, occupied_slots)"
                " SELECT lpad(n::text, 32, '0')::uuid, 'gpu', 'k' || n % 2, s.id, s.id, 'd1', 'RUNNING', 'a1',"
                " s.id, n, '{}', ARRAY[1, n] FROM generate_series(1, 30) AS n, sessions AS s ORDER BY n"
            )
            for change in changes:
                await driver.execute(f"BEGIN; UPDATE kernels SET {change} WHERE status = 'RUNNING'")
                assert await read_usage(driver, KEPT) == await read_usage(driver, COUNTED), change
                await driver.execute("ROLLBACK")

    @pytest.mark.slow
    async def test_of_a_prepared_transaction_counts_from_when_it_is_committed(self) -> None:
        settings = {"max_prepared_transactions": "2"}
        async with own_database(settings) as (_, database), database.driver_as(OWNER) as driver:
            # given one that is older than two folds and a trim
            await driver.execute(OWNERS)
            session = "'00000000-0000-0000-0000-000000000001'"
            await driver.execute(add_session(session, 1, 1))
            await driver.execute(
                f"BEGIN; UPDATE sessions SET status = 'RUNNING' WHERE id = {session}; PREPARE TRANSACTION 'one'"
            )
            await driver.execute(add_session("'00000000-0000-0000-0000-000000000002'", 2, 0))
            for status in ("RUNNING", "PENDING"):
                await driver.execute(f"UPDATE sessions SET status = '{status}' WHERE id <> {session}")
                assert await driver.fetchval("SELECT fold_usage()") == 1
                await driver.execute(
                    "SET scheduler_repo.keeps_changes = 'on';"
                    "UPDATE change_floor SET next_floor_at = '-infinity'; RESET scheduler_repo.keeps_changes"
                )
                await driver.fetchval("SELECT trim_changes('0', 100)")
            # when
            await driver.execute("COMMIT PREPARED 'one'")
            # then
            assert await read_usage(driver, KEPT) == await read_usage(driver, COUNTED)
            assert (await read_usage(driver, KEPT))["DOMAIN", "d1"] == (1, ())
            assert await driver.fetchval("SELECT fold_usage()") == 1
            assert await read_usage(driver, KEPT) == await read_usage(driver, COUNTED)
