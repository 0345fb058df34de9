"""Audits: whether the database's counters and statuses agree with each other, and the counters mended."""

from scheduler_repo.database.row_locks import run_in_two_tries
from scheduler_repo.database.waker import note_change
from scheduler_repo.entities.audit import (
    AuditReport,
    RepairedCounter,
    RepairObstacle,
    RepairReport,
    UnrepairableCounter,
)
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.admission.repairs import repair_counter
from scheduler_repo.steps import in_slices

_resilience = layer_resilience(LayerType.AUDIT_REPOSITORY)


class AuditRepository(Repository[AuditDBSource]):
    """Audits a database and mends the agents' counters."""

    source_type = AuditDBSource

    @_resilience.apply(OperationKind.READ)
    async def audit(self) -> AuditReport:
        """Run all checks in one snapshot, and count the rows of the logs; any role that may read is enough.

        Raises the errors of the database layer. Costs one statement per check and one more, in one transaction
        that locks nothing; time grows with the cluster's pending and occupying sessions and kernels, its
        agents, the stored operations and what is not trimmed of the logs, not with what has finished.
        """
        return await self._read(self._db_source.run_checks)

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def repair_counters(self) -> RepairReport:
        """Set agents' occupied slots and container counts to the sums over their kernels.

        Only agents that differ at first look are locked; their kernels are counted again under the locks. A
        counter that may not have that value is left, with the reason; the others are mended. Schedulers may go
        on meanwhile; repeating it does no harm. Raises TransactionConflict if something writes without the
        locks, and the errors of the database layer; then nothing was written, save after OutcomeUnknown. Costs
        one statement where nothing differs, else six in one transaction; time grows with the cluster's
        occupying kernels and agents.
        """
        return await run_in_two_tries(self._db, self._repair)

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def rebuild_usage(self) -> None:
        """Count anew what each owner occupies, from all sessions and kernels that occupy agents.

        Usage is added up from what triggers log, so this is for a database where one was disabled, or whose
        rows came past them. Writers go on meanwhile; who follows changes reads everything once. Raises the
        errors of the database layer. Costs one statement; time grows with the cluster's occupying kernels.
        """
        async with self._db.begin_session() as db_sess:
            await self._db_source.rebuild_usage(db_sess)

    async def _repair(self, skips_locked: bool) -> RepairReport:
        async with self._db.begin_batch_session(skips_locked=skips_locked) as db_sess:
            seen = await self._db_source.list_drifted_counters(db_sess, None)
            if not seen:
                return RepairReport((), ())
            agent_ids = sorted({counter.agent_id for counter in seen})
            free_ids, blocked = await self._db_source.lock_agents(db_sess, agent_ids)
            drifted = await self._db_source.list_drifted_counters(db_sess, free_ids)
            repairs = [repair_counter(counter) async for counter in in_slices(drifted)]
            repaired = tuple(each for each in repairs if isinstance(each, RepairedCounter))
            await self._db_source.set_counters(db_sess, repaired)
        # A counter that was too high held up sessions.
        note_change(self._db, None)
        left = [each for each in repairs if isinstance(each, UnrepairableCounter)]
        left += [
            UnrepairableCounter(counter, RepairObstacle.ROW_LOCKED, blocked[counter.agent_id])
            for counter in seen
            if counter.agent_id in blocked
        ]
        return RepairReport(repaired, tuple(left))
