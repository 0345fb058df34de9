"""The statements of audits: counters and statuses checked against each other, and the counters mended."""

from collections.abc import Mapping, Sequence
from typing import Final, Optional

import msgspec

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.locks import LOCK_AGENT_SLOTS, LOCK_AGENTS
from scheduler_repo.database.row_locks import AGENT_ROWS, take_all
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.database.statements import Statement, change_rows, fetch_rows
from scheduler_repo.entities.audit import (
    AuditCheck,
    AuditFinding,
    AuditReport,
    DriftedCounter,
    LogLengths,
    RepairedCounter,
)
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.repositories.db_source import DBSource, build_struct
from scheduler_repo.steps import in_slices
from scheduler_repo.types import AgentId


def _load(name: str) -> Statement:
    return Statement(name, read_sql_file(f"audit/{name}.sql"))


# Each answers the fields of AuditFinding after the first, in their order.
CHECKS: Final[Mapping[AuditCheck, Statement]] = {check: _load(check.value) for check in AuditCheck}
LOG_LENGTHS = _load("log_lengths")
LEDGER_DRIFT = _load("ledger_drift")
MEND_AGENT_SLOTS = _load("mend_agent_slots")
MEND_AGENT_CONTAINERS = _load("mend_agent_containers")
REBUILD_USAGE = _load("rebuild_usage")


class AuditDBSource(DBSource):
    """Checks a database, and sets the agents' counters."""

    async def run_checks(self, db_sess: SASession) -> AuditReport:
        """Run all checks; costs one statement for each, and one more."""
        # The first statement takes the snapshot.
        ((observed_at, *lengths),) = await fetch_rows(db_sess, LOG_LENGTHS)
        findings = [
            AuditFinding(check, *row)
            for check, statement in CHECKS.items()
            for row in await fetch_rows(db_sess, statement)
        ]
        return AuditReport(observed_at, len(CHECKS), tuple(findings), LogLengths(*lengths))

    async def list_drifted_counters(
        self, db_sess: SASession, agent_ids: Optional[Sequence[AgentId]]
    ) -> list[DriftedCounter]:
        """Compare the counters of agents, or of all, with their kernels; costs one statement."""
        rows = await fetch_rows(db_sess, LEDGER_DRIFT, agent_ids)
        # The sum over kernels comes as a numeric.
        return [build_struct(DriftedCounter, row, held=int(row["held"])) async for row in in_slices(rows)]

    async def lock_agents(
        self, db_sess: SASession, agent_ids: Sequence[AgentId]
    ) -> tuple[list[AgentId], dict[AgentId, RowLocked]]:
        """Lock agents and their slots as every writer does: only under these locks do their kernels change.

        ``agent_ids`` are sorted. Returns those that are locked, and those of which another transaction has a
        row locked. Costs two statements.
        """
        free_ids, blocked = await take_all(db_sess, agent_ids, *AGENT_ROWS)
        await fetch_rows(db_sess, LOCK_AGENTS, free_ids)
        await fetch_rows(db_sess, LOCK_AGENT_SLOTS, free_ids)
        return free_ids, blocked

    async def set_counters(self, db_sess: SASession, repaired: Sequence[RepairedCounter]) -> None:
        """Set the counters of locked agents; costs two statements."""
        slots = [msgspec.structs.astuple(each) for each in repaired if each.slot_name is not None]
        await change_rows(db_sess, MEND_AGENT_SLOTS, 4, slots)
        containers = [(each.agent_id, each.before, each.after) for each in repaired if each.slot_name is None]
        await change_rows(db_sess, MEND_AGENT_CONTAINERS, 3, containers)

    async def rebuild_usage(self, db_sess: SASession) -> None:
        """Count anew what owners occupy; costs one statement."""
        await fetch_rows(db_sess, REBUILD_USAGE)
