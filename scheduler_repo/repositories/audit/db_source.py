"""The counters and statuses checked against each other in PostgreSQL, and the counters mended."""

from collections.abc import Mapping, Sequence
from typing import Final, Optional

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession
from scheduler_repo.database.locks import LOCK_AGENT_SLOTS, LOCK_AGENTS
from scheduler_repo.database.lookups import SNAPSHOT
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.database.statements import Statement, expect_rows, fetch_rows
from scheduler_repo.entities.audit import (
    AuditCheck,
    AuditFinding,
    AuditReport,
    DriftedCounter,
    RepairedCounter,
    RepairReport,
    UnrepairableCounter,
    repair_counter,
)
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import AgentId


def _load(name: str) -> Statement:
    return Statement(name, read_sql_file(f"audit/{name}.sql"))


# Each answers the fields of AuditFinding after the first, in their order.
CHECKS: Final[Mapping[AuditCheck, Statement]] = {check: _load(check.value) for check in AuditCheck}
LEDGER_DRIFT = _load("ledger_drift")
MEND_AGENT_SLOTS = _load("mend_agent_slots")
MEND_AGENT_CONTAINERS = _load("mend_agent_containers")
_resilience = layer_resilience(LayerType.AUDIT_DB_SOURCE)


class AuditDBSource:
    """Audits a database and mends the agents' counters."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.READ)
    async def audit(self) -> AuditReport:
        """Run all checks in one snapshot; any role that may read will do.

        Raises the errors of the database layer. Costs one statement per check and one more, in one transaction
        that locks nothing; time grows with the cluster's pending and occupying sessions and kernels, its agents
        and the stored operations, not with what has finished.
        """
        async with self._engine.begin_readonly_session() as db_sess:
            # The first statement takes the snapshot.
            (snapshot,) = await fetch_rows(db_sess, SNAPSHOT)
            rows = {check: await fetch_rows(db_sess, statement) for check, statement in CHECKS.items()}
        findings = tuple(AuditFinding(check, *row) for check, found in rows.items() for row in found)
        return AuditReport(snapshot["observed_at"], len(CHECKS), findings)

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def repair_counters(self) -> RepairReport:
        """Set what agents have given away, and their container counts, to what their kernels hold.

        Only agents that differ at first look are locked, as every writer locks them; what their kernels hold is
        counted again under the locks. A counter that may not say so is left, with the reason; the others are
        mended. Repeating it does no harm. Raises TransactionConflict if something writes without the locks, and
        the errors of the database layer; then nothing was written, save after OutcomeUnknown. Costs one
        statement where nothing differs, else six in one transaction; time grows with the cluster's occupying
        kernels and agents.
        """
        async with self._engine.begin_session() as db_sess:
            drifted = await _drifted_counters(db_sess, None)
            if not drifted:
                return RepairReport((), ())
            agent_ids = sorted({counter.agent_id for counter in drifted})
            await fetch_rows(db_sess, LOCK_AGENTS, agent_ids)
            await fetch_rows(db_sess, LOCK_AGENT_SLOTS, agent_ids)
            # Kernels change only under these locks, so from here on the figures stand.
            return await _mend(db_sess, await _drifted_counters(db_sess, agent_ids))


async def _drifted_counters(db_sess: SASession, agent_ids: Optional[Sequence[AgentId]]) -> list[DriftedCounter]:
    """Compare the counters of agents, or of all, with their kernels; what kernels hold comes as a numeric."""
    return [
        DriftedCounter(agent_id, slot_index, slot_name, recorded, int(held), limit)
        for agent_id, slot_index, slot_name, recorded, held, limit in await fetch_rows(
            db_sess, LEDGER_DRIFT, agent_ids
        )
    ]


async def _mend(db_sess: SASession, drifted: Sequence[DriftedCounter]) -> RepairReport:
    repaired: list[RepairedCounter] = []
    unrepairable: list[UnrepairableCounter] = []
    for counter in map(repair_counter, drifted):
        if isinstance(counter, RepairedCounter):
            repaired.append(counter)
        else:
            unrepairable.append(counter)
    slots = [counter for counter in repaired if counter.slot_name is not None]
    containers = [counter for counter in repaired if counter.slot_name is None]
    await expect_rows(
        db_sess,
        len(slots),
        MEND_AGENT_SLOTS,
        [counter.agent_id for counter in slots],
        [counter.slot_name for counter in slots],
        [counter.before for counter in slots],
        [counter.after for counter in slots],
    )
    await expect_rows(
        db_sess,
        len(containers),
        MEND_AGENT_CONTAINERS,
        [counter.agent_id for counter in containers],
        [counter.before for counter in containers],
        [counter.after for counter in containers],
    )
    return RepairReport(tuple(repaired), tuple(unrepairable))
