"""Pages of a search: how many answers, and a cursor that says where the next page begins.

A cursor holds the sort key of the last answer, not a number of answers to skip, so that page 1,000 costs what
page 1 costs. It belongs to one search, with its filter and order, and is refused by any other.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from typing import Final, Generic, NewType, Optional, TypeVar

import msgspec

from scheduler_repo.entities.spec import encode_value
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.errors import InvalidCursor
from scheduler_repo.quoting import quoted

Cursor = NewType("Cursor", str)
T = TypeVar("T")
KeyT = TypeVar("KeyT")
DEFAULT_PAGE: Final = 100
_LONGEST_CURSOR: Final = 2_048
_DIGEST_SIZE: Final = 12


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some answers of a search, in its order; ``next_cursor`` asks for the next, None: these are the last.

    ``unreadable`` are rows of the page that were left out for a word of a newer version.
    """

    items: tuple[T, ...]
    next_cursor: Optional[Cursor]
    unreadable: tuple[UnreadableRow, ...] = ()


class CursorCodec(Generic[KeyT]):
    """Writes and reads the cursors of one kind of search; ``KeyT`` is a tuple of what it is ordered by."""

    def __init__(self, search: str, key_type: type[KeyT]) -> None:
        """``search`` is sealed into each cursor: searches of one name would take each other's cursors."""
        self._search = search
        self._decoder = msgspec.msgpack.Decoder(key_type)
        self._encoder = msgspec.msgpack.Encoder(uuid_format="bytes", enc_hook=encode_value)

    def encode(self, question: object, key: KeyT) -> Cursor:
        """Write a cursor behind ``key``; ``question`` is what was asked by name, save cursor and limit."""
        encoded = self._encoder.encode(key)
        return _spelled(self._seal(question, encoded) + encoded)

    def decode(self, question: object, cursor: object) -> KeyT:
        """Read a cursor; raises InvalidCursor if it is none, was changed, or is of another question."""
        try:
            if not isinstance(cursor, str) or len(cursor) > _LONGEST_CURSOR:
                raise ValueError
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            seal, encoded = raw[:_DIGEST_SIZE], raw[_DIGEST_SIZE:]
            # The last character has bits to spare: a cursor has one spelling.
            if seal != self._seal(question, encoded) or _spelled(raw) != cursor:
                raise ValueError
            return self._decoder.decode(encoded)
        except (ValueError, msgspec.MsgspecError):
            raise InvalidCursor(
                f"cursor {quoted(cursor)} is not of this search: it was changed, or is of another filter or "
                "order; pass next_cursor of the page before on as it is, or None for the first page"
            ) from None

    def page(self, question: object, found: Sequence[T], limit: int, key: Callable[[T], KeyT]) -> Page[T]:
        """Cut what a search found to a page; one answer more than ``limit`` says that another page follows."""
        items = tuple(found[:limit])
        more = len(found) > limit
        return Page(items, self.encode(question, key(items[-1])) if more else None)

    def _seal(self, question: object, encoded: bytes) -> bytes:
        asked = self._encoder.encode((self._search, question))
        return hashlib.blake2b(encoded, digest_size=_DIGEST_SIZE, key=hashlib.blake2b(asked).digest()).digest()


def _spelled(raw: bytes) -> Cursor:
    return Cursor(base64.urlsafe_b64encode(raw).decode().rstrip("="))
