"""The base of every repository."""

from collections.abc import Awaitable, Callable
from typing import ClassVar, Concatenate, Generic, ParamSpec, TypeVar

from scheduler_repo.database.engine import SASession
from scheduler_repo.repositories.db_source import DBSource
from scheduler_repo.wiring import check_wiring

T = TypeVar("T")
P = ParamSpec("P")
SourceT = TypeVar("SourceT", bound=DBSource)


class Repository(Generic[SourceT]):
    """The public methods of one entity: each checks its arguments and owns the one transaction it runs in."""

    source_type: ClassVar[type[DBSource]]

    def __init__(self, db_source: SourceT) -> None:
        """Raise InvalidWiring for what is not the source of this entity."""
        check_wiring(db_source, self.source_type, "db_source", f"{self.source_type.__name__}(engine)")
        self._db_source = db_source
        self._db = db_source.engine

    async def _read(
        self, ask: Callable[Concatenate[SASession, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Ask the source in a read-only transaction; answers become structs when it has ended."""
        async with self._db.begin_readonly_session() as db_sess:
            return await ask(db_sess, *args, **kwargs)
