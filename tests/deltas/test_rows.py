"""The columns of each statement of a refresh are the fields of its row, in their order."""

from collections.abc import Mapping
from typing import Final

import pytest

from scheduler_repo.database import lookups
from scheduler_repo.database.statements import Statement
from scheduler_repo.repositories.scheduler import changes
from scheduler_repo.scheduling.deltas import rows
from scheduler_repo.scheduling.snapshot.rows import (
    GroupOptionsRow,
    PendingDependencyRow,
    PendingSessionRow,
    ReservedKernelRow,
    SnapshotRow,
)
from tests.support.databases import DriverConnection

ROW_TYPES: Final[Mapping[Statement, tuple[str, ...]]] = {
    changes.CHANGES_SINCE: SnapshotRow._fields + GroupOptionsRow._fields + rows.NewsRow._fields,
    changes.CHANGED_SESSIONS: rows.ChangedSessionRow._fields,
    changes.CHANGED_DEPENDENCIES: PendingDependencyRow._fields,
    changes.CHANGED_AGENTS: rows.ChangedAgentRow._fields,
    changes.CHANGED_OWNERS: rows.ChangedOwnerRow._fields,
    lookups.RESERVATIONS: ReservedKernelRow._fields,
}


class TestRows:
    @pytest.mark.parametrize("statement", ROW_TYPES, ids=lambda each: each.name)
    async def test_have_a_field_for_each_column(
        self, owner_connection: DriverConnection, statement: Statement
    ) -> None:
        prepared = await owner_connection.prepare(statement.text)
        assert tuple(column.name for column in prepared.get_attributes()) == ROW_TYPES[statement]

    def test_are_those_of_all_statements(self) -> None:
        assert tuple(ROW_TYPES) == changes.REFRESH_STATEMENTS

    def test_begin_as_those_of_a_full_read(self) -> None:
        assert rows.ChangedSessionRow._fields[: len(PendingSessionRow._fields)] == PendingSessionRow._fields
