"""The base of every database source."""

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.wiring import check_wiring


class DBSource:
    """The statements of one entity: methods that take an open session and return rows or structs.

    The repository opens the session on ``engine`` and owns its transaction.
    """

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Connect to nothing yet; raises InvalidWiring for what is no engine."""
        check_wiring(engine, ExtendedAsyncSAEngine, "engine", "create_engine(DatabaseSettings(...))")
        self.engine = engine
