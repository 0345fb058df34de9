"""The name of the database that a process reads from, so that no entry of another one is believed."""

from typing import Optional

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
    """Asks an engine's server once which database it is: which cluster of servers, which database in it."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        self._engine = engine
        self._known: Optional[str] = None
        self._flights: SingleFlight[str] = SingleFlight()

    async def get(self, _: object = None) -> str:
        """Return the name, whatever the value; raises the errors of the database layer.

        Costs one statement the first time.
        """
        if self._known is None:
            self._known = await self._flights.run(None, self._read)
        return self._known

    @_resilience.apply(OperationKind.READ)
    async def _read(self) -> str:
        async with self._engine.begin_readonly_session() as db_sess:
            (row,) = await fetch_rows(db_sess, SNAPSHOT)
        return f"{row['system_identifier']}/{row['database_oid']}"
