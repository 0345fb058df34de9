"""The base of every database source, and how its rows become structs."""

from typing import TYPE_CHECKING, TypeVar

import msgspec

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.wiring import check_wiring

if TYPE_CHECKING:
    from asyncpg import Record

StructT = TypeVar("StructT", bound=msgspec.Struct)


class DBSource:
    """The statements of one entity: methods that take an open session and return rows or structs.

    The repository opens the session on ``engine`` and owns its transaction.
    """

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Connect to nothing yet; raises InvalidWiring for what is no engine."""
        check_wiring(engine, ExtendedAsyncSAEngine, "engine", "create_engine(DatabaseSettings(...))")
        self.engine = engine


def build_struct(kind: type[StructT], row: "Record", **fields: object) -> StructT:
    """Build a struct of ``fields``, and for the others of the row's columns of the same names."""
    columns = {name: row[name] for name in kind.__struct_fields__ if name not in fields}
    return kind(**columns, **fields)
