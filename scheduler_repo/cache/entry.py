"""What stands around a cached value, so that nothing is believed for being in the cache.

An entry is ``_MAGIC``, a digest of all that follows, the length of the header, the header and the value. The
header says of what format, cache, key and database the value is, and when it was true.
"""

import hashlib
from typing import Final, Optional, Union

import msgspec

from scheduler_repo.cache.metrics import CacheName, CacheOutcome
from scheduler_repo.scheduling.snapshot.encoding import UNREADABLE

# Three bytes for all versions of this frame, one for its version.
_FAMILY: Final = b"SRC"
_MAGIC: Final = _FAMILY + b"\x01"

# A lease is no entry: it says that a reader is about to store one.
LEASE: Final = b"SRL"
_DIGEST_BYTES: Final = 16
_LENGTH_BYTES: Final = 4
_PREFIX_BYTES: Final = len(_MAGIC) + _DIGEST_BYTES + _LENGTH_BYTES


class DatabaseKey(msgspec.Struct, frozen=True, array_like=True):
    """Which database an entry is of: one cluster of servers, one database in it."""

    system_identifier: int
    database_oid: int


class Header(msgspec.Struct, frozen=True, array_like=True):
    """What an entry says of its value; ``taken_at_ms`` is of the server's clock, at or before the read."""

    format_version: str
    cache: str
    key: str
    database: DatabaseKey
    taken_at_ms: int


_encoder = msgspec.msgpack.Encoder()
_decode_header = msgspec.msgpack.Decoder(Header).decode


def framed(header: Header, value: bytes) -> bytes:
    """Make an entry; costs about 1 ms a megabyte."""
    encoded = _encoder.encode(header)
    body = b"".join((len(encoded).to_bytes(_LENGTH_BYTES, "big"), encoded, value))
    return b"".join((_MAGIC, _digest(body), body))


class Opened(msgspec.Struct, frozen=True):
    """An entry whose bytes are whole: its header, and its value still encoded."""

    header: Header
    value: memoryview


def opened(entry: bytes) -> Union[Opened, CacheOutcome]:
    """Take an entry apart, or say what it is instead: BEING_FILLED, OTHER_FORMAT or UNREADABLE.

    Costs about 1 ms a megabyte.
    """
    if entry.startswith(LEASE):
        return CacheOutcome.BEING_FILLED
    if not entry.startswith(_MAGIC):
        of_this_package = len(entry) > len(_MAGIC) and entry.startswith(_FAMILY)
        return CacheOutcome.OTHER_FORMAT if of_this_package else CacheOutcome.UNREADABLE
    view = memoryview(entry)
    body = view[len(_MAGIC) + _DIGEST_BYTES :]
    if len(entry) < _PREFIX_BYTES or _digest(body) != view[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES]:
        return CacheOutcome.UNREADABLE
    header_end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "big")
    try:
        header = _decode_header(body[_LENGTH_BYTES:header_end])
    except UNREADABLE:
        # Written so, as the digest says: by a version with another header.
        return CacheOutcome.OTHER_FORMAT
    return Opened(header, body[header_end:])


def judged(header: Header, *, format_version: str, cache: CacheName, key: str) -> Optional[CacheOutcome]:
    """Say why an entry is not the one that was asked for; None if it is."""
    if (header.cache, header.key) != (cache, key):
        return CacheOutcome.OTHER_KEY
    if header.format_version != format_version:
        return CacheOutcome.OTHER_FORMAT
    return None


def format_version_of(value_type: object) -> str:
    """Make the version of a struct's encoding: any change of its fields is another format."""
    schema = msgspec.json.encode(msgspec.json.schema(value_type), order="sorted")
    return hashlib.sha256(schema).hexdigest()[:16]


def _digest(body: Union[bytes, memoryview]) -> bytes:
    return hashlib.sha256(body).digest()[:_DIGEST_BYTES]
