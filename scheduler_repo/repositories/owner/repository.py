"""Owners of sessions, their policies and quotas."""

from typing import Optional

from scheduler_repo.repositories.owner.db_source import OwnerDBSource
from scheduler_repo.resilience.layers import LayerType, repository_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.specs import OwnersSpec
from scheduler_repo.types import OperationId

_resilience = repository_resilience(LayerType.OWNER_REPOSITORY)


class OwnerRepository:
    """Registers owners."""

    def __init__(self, db_source: OwnerDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.WRITE)
    async def register_owners(self, owners: OwnersSpec, operation_id: Optional[OperationId] = None) -> None:
        """Make sure that these owners, policies and quotas exist; those that do are left as they are.

        All or nothing. Raises UnknownSlotType, InvalidQuantity, AlreadyExists (another user or project of the
        domain has the name), ConstraintViolated (a user of a domain that does not exist), OperationMismatch and
        OutcomeUnknown. Costs nine statements, whatever the number.
        """
        await self._db_source.register_owners(owners, operation_id)
