"""Which database the entries of a process are of."""

from typing import Optional

from scheduler_repo.cache.entry import DatabaseKey
from scheduler_repo.cache.single_flight import SingleFlight
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.lookups import SNAPSHOT
from scheduler_repo.database.statements import fetch_rows
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.retry import RetryPolicy
from scheduler_repo.resilience.policies.timeout import TimeoutPolicy
from scheduler_repo.resilience.resilience import Resilience

_resilience = Resilience(policies=[TimeoutPolicy(), RetryPolicy()])


class DatabaseKeyReader:
    """Asks an engine's server once which database it is."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take the engine; asks nothing yet."""
        self._engine = engine
        self._known: Optional[DatabaseKey] = None
        self._flights: SingleFlight[DatabaseKey] = SingleFlight()

    async def get(self) -> DatabaseKey:
        """Return the key; raises the errors of the database layer. Costs one statement the first time."""
        if self._known is None:
            self._known = await self._flights.run(None, self._read)
        return self._known

    @_resilience.apply(OperationKind.READ)
    async def _read(self) -> DatabaseKey:
        async with self._engine.begin_readonly_session() as db_sess:
            (row,) = await fetch_rows(db_sess, SNAPSHOT)
        return DatabaseKey(row["system_identifier"], row["database_oid"])
