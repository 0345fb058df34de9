"""Structs as bytes (msgpack) and back, with amounts of any size.

A sum of amounts may be above the 64 bits that msgpack has for a whole number. A value with such a one is an
extension, inside of which these numbers alone are text.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, TypeVar, Union
from uuid import UUID

import msgspec

from scheduler_repo.entities.spec import encode_value

T = TypeVar("T")
Encoded = Union[bytes, memoryview, msgspec.Raw]

# What msgspec may raise on bytes that are no encoding, whatever they are.
UNREADABLE: Final = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, MemoryError)

_WIDE: Final = 1
# The first bytes of msgpack's extensions.
_EXTENSIONS: Final = frozenset((*range(0xC7, 0xCA), *range(0xD4, 0xD9)))
_KEPT: Final = (bytes, memoryview, datetime, UUID)
_NARROW: Final = range(-(2**63), 2**64)

_encoder = msgspec.msgpack.Encoder(uuid_format="bytes", enc_hook=encode_value)
_decode_extension = msgspec.msgpack.Decoder(msgspec.msgpack.Ext).decode


def encode(value: object) -> bytes:
    """Encode a value of the types that msgspec knows, and of any mapping; raises TypeError for another."""
    try:
        return _encoder.encode(value)
    except OverflowError:
        plain = msgspec.to_builtins(value, builtin_types=_KEPT, enc_hook=encode_value)
        return _encoder.encode(msgspec.msgpack.Ext(_WIDE, _encoder.encode(_write_wide(plain))))


def build_decoder(kind: type[T]) -> Callable[[Encoded], T]:
    """Build the function that decodes what ``encode`` made of a value of one type.

    It raises one of ``UNREADABLE`` for bytes that are no encoding of one.
    """
    decode_narrow = msgspec.msgpack.Decoder(kind).decode
    # Takes text for a whole number.
    decode_wide = msgspec.msgpack.Decoder(kind, strict=False).decode

    def decode(encoded: Encoded) -> T:
        start = memoryview(encoded)[:1]
        if not start or start[0] not in _EXTENSIONS:
            return decode_narrow(encoded)
        extension = _decode_extension(encoded)
        if extension.code != _WIDE:
            raise msgspec.ValidationError(f"an extension of kind {extension.code} is no encoding of a struct")
        return decode_wide(extension.data)

    return decode


def compute_format_version(value_type: object) -> str:
    """Compute the version of a struct's encoding: any change of its fields is another format."""
    schema = msgspec.json.encode(msgspec.json.schema(value_type), order="sorted")
    return hashlib.sha256(schema).hexdigest()[:16]


def _write_wide(value: object) -> object:
    if isinstance(value, int) and value not in _NARROW:
        return str(value)
    if isinstance(value, Mapping):
        return {key: _write_wide(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_write_wide(each) for each in value]
    return value
