"""The entry around every cached value, so that nothing is believed for being in the cache.

An entry is a mark, a signature of all that follows, the length of the header, the header and the value. The
header says of what cache, key, format and database the value is, and when it was true. Without keys a digest
stands in place of the signature, which shows damage and no forgery.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, Optional, Union

import msgspec

from scheduler_repo.cache.metrics import CacheOutcome
from scheduler_repo.entities.encoding import UNREADABLE

# Three bytes for all versions of this format, one for its version: entries of another version are a miss.
_FAMILY: Final = b"SRC"
_WITH_DIGEST: Final = _FAMILY + b"\x02"
_SIGNED: Final = _FAMILY + b"\x03"
_MARK_BYTES: Final = len(_SIGNED)
# A lease is no entry: it says that a reader is about to store one.
LEASE: Final = b"SRL"
_SIGNATURE_BYTES: Final = 16
_LENGTH_BYTES: Final = 4
# How much of an entry tells it from every other one.
MARK_BYTES: Final = _MARK_BYTES + _SIGNATURE_BYTES


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """The identity of an entry's value; a reader believes an entry only if all of it matches its own."""

    cache: str
    key: str
    format_version: str
    database: str


class Header(msgspec.Struct, frozen=True, array_like=True):
    """The header of an entry; ``taken_at_ms`` is the server's clock at or before the read.

    ``token`` is that of the read's snapshot, as text, where of two entries the newer must stay.
    """

    identity: Identity
    taken_at_ms: int
    token: str = ""


class Entry(msgspec.Struct, frozen=True):
    """An entry whose bytes are whole: its header, and its value still encoded."""

    header: Header
    value: memoryview


_encoder = msgspec.msgpack.Encoder()
_decode_header = msgspec.msgpack.Decoder(Header).decode


class Seal:
    """Signs entries with the first of its keys, and takes those that any of them signed.

    Without keys it puts a digest in place of the signature.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._keys = tuple(keys)
        self.mark = _SIGNED if self._keys else _WITH_DIGEST
        # What an entry is with another mark, or with a signature that does not fit.
        self.refusal = CacheOutcome.BAD_SIGNATURE if self._keys else CacheOutcome.UNREADABLE

    def sign(self, body: bytes) -> bytes:
        """Compute the signature of the bytes behind it."""
        digest = hashlib.sha256(body).digest()
        return self._sign(self._keys[0], digest) if self._keys else digest[:_SIGNATURE_BYTES]

    def fits(self, signature: memoryview, body: memoryview) -> bool:
        """Whether a signature is one of these bytes; the bytes are read once, however many keys there are."""
        digest = hashlib.sha256(body).digest()
        if not self._keys:
            return signature == digest[:_SIGNATURE_BYTES]
        return any(hmac.compare_digest(signature, self._sign(key, digest)) for key in self._keys)

    def _sign(self, key: bytes, digest: bytes) -> bytes:
        return hmac.digest(key, self.mark + digest, "sha256")[:_SIGNATURE_BYTES]


WITHOUT_KEYS: Final = Seal()


def build_entry(header: Header, value: bytes, seal: Seal = WITHOUT_KEYS) -> bytes:
    """Build the bytes to store; costs about 1 ms a megabyte."""
    encoded = _encoder.encode(header)
    body = b"".join((len(encoded).to_bytes(_LENGTH_BYTES, "big"), encoded, value))
    return b"".join((seal.mark, seal.sign(body), body))


def open_entry(stored: bytes, seal: Seal = WITHOUT_KEYS) -> Union[Entry, CacheOutcome]:
    """Split an entry, or return its defect: BEING_FILLED, OTHER_FORMAT, UNREADABLE or BAD_SIGNATURE.

    Nothing of it is looked at before its signature. Costs about 1 ms a megabyte.
    """
    if stored.startswith(LEASE):
        return CacheOutcome.BEING_FILLED
    if not stored.startswith(seal.mark):
        if len(stored) <= _MARK_BYTES or not stored.startswith(_FAMILY):
            return CacheOutcome.UNREADABLE
        return seal.refusal if stored.startswith(_WITH_DIGEST) else CacheOutcome.OTHER_FORMAT
    view = memoryview(stored)
    body = view[_MARK_BYTES + _SIGNATURE_BYTES :]
    if len(body) < _LENGTH_BYTES or not seal.fits(view[_MARK_BYTES : _MARK_BYTES + _SIGNATURE_BYTES], body):
        return seal.refusal
    header_end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "big")
    try:
        header = _decode_header(body[_LENGTH_BYTES:header_end])
    except UNREADABLE:
        # Written so, as the signature says: by a version with another header.
        return CacheOutcome.OTHER_FORMAT
    return Entry(header, body[header_end:])


def peek_header(start: bytes) -> Optional[Header]:
    """Return the header at the start of an entry, if it is there, whole and of this format.

    Its signature is not looked at: it says what may be there, and nothing that may be believed.
    """
    length = int.from_bytes(start[MARK_BYTES : MARK_BYTES + _LENGTH_BYTES], "big")
    encoded = start[MARK_BYTES + _LENGTH_BYTES :][:length]
    if not start.startswith(_FAMILY) or not length or len(encoded) < length:
        return None
    try:
        return _decode_header(encoded)
    except UNREADABLE:
        return None


def find_mismatch(found: Identity, wanted: Identity) -> Optional[CacheOutcome]:
    """Say why an entry is not the one that was asked for; None if it is."""
    if found == wanted:
        return None
    if (found.cache, found.key) != (wanted.cache, wanted.key):
        return CacheOutcome.OTHER_KEY
    if found.format_version != wanted.format_version:
        return CacheOutcome.OTHER_FORMAT
    return CacheOutcome.OTHER_DATABASE
