"""Every write with one row of every table held by another client: the rest of its batch goes through."""

import typing
from collections.abc import Awaitable, Iterator
from typing import Final

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.agent import HeartbeatResult
from scheduler_repo.entities.audit import RepairReport
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.errors import LockNotAvailable
from scheduler_repo.models import Base
from scheduler_repo.repositories.quota.db_source import QuotaDBSource
from scheduler_repo.repositories.quota.repository import QuotaRepository
from scheduler_repo.types import OwnerScope
from tests.api.public_methods import PUBLIC_METHODS
from tests.api.statement_table import CASES, Case, fill_table
from tests.api.world import World
from tests.locks.held_rows import HeldRow, held_row
from tests.support.databases import DriverConnection
from tests.support.rows import KEPT_BY_DATABASE
from tests.support.small_cluster import ACCESS_KEY

fill_table()

SIZE: Final = 3
READS: Final = ("get_", "find_", "list_", "search_", "count_", "audit")
TABLES: Final = tuple(
    sorted({*Base.metadata.tables} - {"operations", "session_history", "agent_history"} - {*KEPT_BY_DATABASE})
)
# The rows that belong to one item of a batch, by what the items are.
OF_ONE_SESSION: Final = frozenset({"sessions", "kernels", "reservations", "kernel_reservations"})
OF_ONE_AGENT: Final = frozenset({"agents", "agent_slots", "agent_heartbeats"})


# The writes whose answer says of each item what became of it; the others are all or nothing.
ITEM_BY_ITEM: Final = frozenset(
    method.label
    for method in PUBLIC_METHODS
    if method.is_of_repository
    and {"rejected", "unrepairable"}.intersection(
        getattr(typing.get_type_hints(method.function)["return"], "__struct_fields__", ())
    )
)


def writes() -> Iterator[Case]:
    for case in CASES.values():
        if not case.method.partition(".")[2].startswith(READS):
            yield case


def answers(result: object) -> tuple[int, list[RowLocked]]:
    """How many items went through, and the row for which each of the others was left for later."""
    if isinstance(result, RepairReport):
        return len({each.agent_id for each in result.repaired}), [
            each.locked for each in result.unrepairable if each.locked is not None
        ]
    assert isinstance(result, msgspec.Struct)
    locked: list[RowLocked] = []
    for each in (*getattr(result, "rejected", ()), *getattr(result, "locked", ())):
        row = getattr(each, "locked", None) or getattr(each, "detail", None)
        if isinstance(row, RowLocked):
            assert each.code == "ROW_LOCKED"
            locked.append(row)
    if isinstance(result, HeartbeatResult):
        return len(result.recorded), locked
    done = {
        item
        for name in (
            "allocated",
            "reserved",
            "released",
            "changed",
            "dispatched",
            "created",
            "alive",
            "requeued",
            "failed",
            "unchanged",
        )
        for item in getattr(result, name, ())
    }
    return len(done), locked


async def answer_or_error(call: Awaitable[object]) -> object:
    try:
        return await call
    except LockNotAvailable as error:
        return error


class TestEveryWrite:
    @pytest.fixture
    async def world(self, engine: ExtendedAsyncSAEngine) -> World:
        world = World(engine)
        await world.settle()
        quota = QuotaSpec(scope=OwnerScope.ACCESS_KEY, owner_id=ACCESS_KEY, max_concurrent_sessions=1_000_000)
        await QuotaRepository(QuotaDBSource(engine)).set_quotas([quota])
        return world

    @pytest.mark.slow
    @pytest.mark.parametrize("case", [pytest.param(case, id=case.label) for case in writes()])
    async def test_with_one_locked_row_of_every_table(
        self, case: Case, world: World, holder: DriverConnection
    ) -> None:
        hindered = set()
        for table in TABLES:
            await world.recover()
            call = await case.prepare(world, SIZE)
            async with held_row(holder, table) as held:
                if held is None:
                    call.close()  # type: ignore[attr-defined]
                    continue
                result = await answer_or_error(call)
            if isinstance(result, LockNotAvailable):
                hindered.add(table)
                assert case.method not in ITEM_BY_ITEM, f"{table}: {result}"
                named = result.table, result.row_id, result.pids
                assert named == (held.table, held.row_id, (held.pid,)), f"{table}: {result}"
                assert f"{held.row_id} of {held.table}" in str(result)
                assert str(held.pid) in str(result)
            elif case.label in ITEM_BY_ITEM and self.check(result, held):
                hindered.add(table)
        assert hindered or case.label not in ITEM_BY_ITEM

    def check(self, result: object, held: HeldRow) -> bool:
        """Look at the answer of a batch, and say whether anything was left for later."""
        done, locked = answers(result)
        assert all(row == RowLocked(held.table, held.row_id, (held.pid,)) for row in locked), held
        if held.table in OF_ONE_SESSION or (held.table in OF_ONE_AGENT and "agent-0" not in held.row_id):
            assert done >= SIZE - 1, f"{held}: {result}"
        if not locked:
            assert done >= SIZE, f"{held}: {result}"
        return bool(locked)

    def test_every_batch_is_walked(self) -> None:
        assert {case.label for case in CASES.values()} >= ITEM_BY_ITEM
        assert len(ITEM_BY_ITEM) > 20
