"""The base of every database source, and how its rows become structs."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.errors import UnknownWord
from scheduler_repo.wiring import check_wiring

StructT = TypeVar("StructT", bound=msgspec.Struct)


class DBSource:
    """The statements of one entity: methods that take an open session and return rows or structs.

    The repository opens the session on ``engine`` and owns its transaction.
    """

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Connect to nothing yet; raises InvalidWiring for what is no engine."""
        check_wiring(engine, ExtendedAsyncSAEngine, "engine", "create_engine(DatabaseSettings(...))")
        self.engine = engine


def build_struct(kind: type[StructT], row: Mapping[str, object], **fields: object) -> StructT:
    """Build a struct of ``fields`` and the row's columns of the same names; raises UnknownWord."""
    try:
        return msgspec.convert({**row, **fields}, kind)
    except msgspec.ValidationError as error:
        # The columns have the types of the fields, so only a word can be none.
        raise UnknownWord(
            f"a stored {kind.__name__} cannot be read: {error}; a newer version may have stored it, upgrade "
            "this one"
        ) from error
