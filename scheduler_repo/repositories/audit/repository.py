"""The audit's repository: does the database say the same of itself everywhere?"""

from scheduler_repo.entities.audit import AuditReport, RepairReport
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind

_resilience = layer_resilience(LayerType.AUDIT_REPOSITORY, retries=False)


class AuditRepository:
    """Audits a database and mends the agents' counters."""

    def __init__(self, db_source: AuditDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.READ)
    async def audit(self) -> AuditReport:
        """Run all checks in one snapshot; any role that may read will do.

        Raises the errors of the database layer. Costs one statement per check and one more, in one transaction
        that locks nothing; time grows with the cluster's pending and occupying sessions and kernels, its agents
        and the stored operations, not with what has finished.
        """
        return await self._db_source.audit()

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def repair_counters(self) -> RepairReport:
        """Set what agents have given away, and their container counts, to what their kernels hold.

        A counter that may not say so is left, with the reason; the others are mended. Schedulers may go on
        meanwhile; repeating it does no harm. Raises TransactionConflict if something writes without the locks,
        and the errors of the database layer; then nothing was written, save after OutcomeUnknown. Costs one
        statement where nothing differs, else six in one transaction; time grows with the cluster's occupying
        kernels and agents.
        """
        return await self._db_source.repair_counters()
