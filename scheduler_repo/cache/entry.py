"""The entry around every cached value, so that nothing is believed for being in the cache.

An entry is ``_MAGIC``, a digest of all that follows, the length of the header, the header and the value. The
header says of what cache, key, format and database the value is, and when it was true.
"""

import hashlib
from typing import Final, Optional, Union

import msgspec

from scheduler_repo.cache.metrics import CacheOutcome

# Three bytes for all versions of this format, one for its version: entries of another version are a miss.
_FAMILY: Final = b"SRC"
_MAGIC: Final = _FAMILY + b"\x02"
# A lease is no entry: it says that a reader is about to store one.
LEASE: Final = b"SRL"
_DIGEST_BYTES: Final = 16
_LENGTH_BYTES: Final = 4

# What msgspec may raise on bytes that are no encoding, whatever they are.
UNREADABLE: Final = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, MemoryError)


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """The identity of an entry's value; a reader believes an entry only if all of it matches its own."""

    cache: str
    key: str
    format_version: str
    database: str


class Header(msgspec.Struct, frozen=True, array_like=True):
    """The header of an entry; ``taken_at_ms`` is the server's clock at or before the read."""

    identity: Identity
    taken_at_ms: int


class Entry(msgspec.Struct, frozen=True):
    """An entry whose bytes are whole: its header, and its value still encoded."""

    header: Header
    value: memoryview


_encoder = msgspec.msgpack.Encoder()
_decode_header = msgspec.msgpack.Decoder(Header).decode


def build_entry(header: Header, value: bytes) -> bytes:
    """Build the bytes to store; costs about 1 ms a megabyte."""
    encoded = _encoder.encode(header)
    body = b"".join((len(encoded).to_bytes(_LENGTH_BYTES, "big"), encoded, value))
    return b"".join((_MAGIC, _compute_digest(body), body))


def open_entry(stored: bytes) -> Union[Entry, CacheOutcome]:
    """Take an entry apart, or say what else it is: BEING_FILLED, OTHER_FORMAT or UNREADABLE.

    Costs about 1 ms a megabyte.
    """
    if stored.startswith(LEASE):
        return CacheOutcome.BEING_FILLED
    if not stored.startswith(_MAGIC):
        is_of_this_package = len(stored) > len(_MAGIC) and stored.startswith(_FAMILY)
        return CacheOutcome.OTHER_FORMAT if is_of_this_package else CacheOutcome.UNREADABLE
    view = memoryview(stored)
    body = view[len(_MAGIC) + _DIGEST_BYTES :]
    if len(body) < _LENGTH_BYTES or _compute_digest(body) != view[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES]:
        return CacheOutcome.UNREADABLE
    header_end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "big")
    try:
        header = _decode_header(body[_LENGTH_BYTES:header_end])
    except UNREADABLE:
        # Written so, as the digest says: by a version with another header.
        return CacheOutcome.OTHER_FORMAT
    return Entry(header, body[header_end:])


def find_mismatch(found: Identity, wanted: Identity) -> Optional[CacheOutcome]:
    """Say why an entry is not the one that was asked for; None if it is."""
    if found == wanted:
        return None
    if (found.cache, found.key) != (wanted.cache, wanted.key):
        return CacheOutcome.OTHER_KEY
    if found.format_version != wanted.format_version:
        return CacheOutcome.OTHER_FORMAT
    return CacheOutcome.OTHER_DATABASE


def _compute_digest(body: Union[bytes, memoryview]) -> bytes:
    return hashlib.sha256(body).digest()[:_DIGEST_BYTES]
