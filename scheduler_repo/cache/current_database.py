"""The database that a cache source's reads go to now: what its entries must be of to be believed."""

from contextlib import suppress
from time import monotonic
from typing import Final, Optional

from scheduler_repo.cache.single_flight import BackgroundTasks, SingleFlight
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.identity import BELIEVED_SECONDS, fetch_identity
from scheduler_repo.entities.snapshot_token import DatabaseIdentity
from scheduler_repo.errors import SchedulerRepoError
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.retry import RetryPolicy
from scheduler_repo.resilience.policies.timeout import TimeoutPolicy
from scheduler_repo.resilience.resilience import Resilience

# While the database cannot be asked, entries are believed for as long as they live by default.
_LONGEST_SECONDS: Final = 60.0

_resilience = Resilience(policies=[TimeoutPolicy(), RetryPolicy()])


class CurrentDatabase:
    """Knows which database an engine leads to, and learns of a fail-over while every read is a hit.

    Each read of the database confirms it. Without one for 5 s, it is asked beside the calls.
    """

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        self._engine = engine
        self._database: Optional[DatabaseIdentity] = None
        self._seen_at = 0.0
        self._asking: SingleFlight[DatabaseIdentity] = SingleFlight()
        self._tasks = BackgroundTasks()

    async def get(self) -> DatabaseIdentity:
        """Return the database; raises the errors of the database layer.

        Costs one statement the first time, and after a minute without a call.
        """
        age = monotonic() - self._seen_at
        if self._database is None or age > _LONGEST_SECONDS:
            return await self._asking.run(None, self._ask)
        if age > BELIEVED_SECONDS and not self._tasks:
            self._tasks.start(self._ask_beside())
        return self._database

    def saw(self, database: DatabaseIdentity, asked_at: float) -> None:
        """Note that a read, begun at ``asked_at`` of the monotonic clock, came from this database."""
        if asked_at >= self._seen_at:
            self._database, self._seen_at = database, asked_at

    async def drain(self) -> None:
        """Wait until the database has answered, or cannot be asked."""
        await self._tasks.drain()

    async def aclose(self) -> None:
        """Stop asking."""
        await self._tasks.cancel()

    @_resilience.apply(OperationKind.READ)
    async def _ask(self) -> DatabaseIdentity:
        asked_at = monotonic()
        async with self._engine.begin_readonly_session() as db_sess:
            database = await fetch_identity(db_sess)
        self.saw(database, asked_at)
        return database

    async def _ask_beside(self) -> None:
        # A database that cannot be asked has not failed over yet; reads that need it say so.
        with suppress(SchedulerRepoError):
            await self._asking.run(None, self._ask)
