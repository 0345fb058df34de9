"""The base of every database source, and how its rows become structs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.paging import CursorCodec, Page
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.errors import UnknownWord
from scheduler_repo.metrics.reads import count_unreadable
from scheduler_repo.steps import in_slices
from scheduler_repo.wiring import check_wiring

StructT = TypeVar("StructT", bound=msgspec.Struct)
T = TypeVar("T")
KeyT = TypeVar("KeyT")
RowT = TypeVar("RowT", bound=Mapping[str, object])


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


class RowReader(Generic[RowT, T]):
    """Builds structs from the rows of an entity; one with a word that this version does not know is left out.

    It is counted, and written to the log. Whoever asks for one row builds it alone, which raises UnknownWord.
    """

    def __init__(self, entity: str, build: Callable[[RowT], T], id_column: str = "id") -> None:
        """``id_column`` is what names a row that is left out."""
        self._entity = entity
        self._build = build
        self._id_column = id_column

    async def read(self, rows: Iterable[RowT]) -> tuple[T, ...]:
        """Build the structs of the rows that can be read."""
        return (await self._sort(rows))[0]

    async def page(
        self,
        cursors: CursorCodec[KeyT],
        question: object,
        rows: Sequence[RowT],
        limit: int,
        key: Callable[[RowT], KeyT],
    ) -> Page[T]:
        """Cut rows to a page, and build the structs of those that can be read; ``key`` is a row's."""
        page = cursors.page(question, rows, limit, key)
        items, unreadable = await self._sort(page.items)
        return Page(items, page.next_cursor, unreadable)

    async def _sort(self, rows: Iterable[RowT]) -> tuple[tuple[T, ...], tuple[UnreadableRow, ...]]:
        built: list[T] = []
        unreadable: list[UnreadableRow] = []
        async for row in in_slices(rows):
            try:
                built.append(self._build(row))
            except UnknownWord as error:
                unreadable.append(UnreadableRow(self._entity, str(row[self._id_column]), str(error)))
        count_unreadable(unreadable)
        return tuple(built), tuple(unreadable)
