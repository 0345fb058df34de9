"""A snapshot as the bytes of a file: packed for other programs and people, unpacked without trusting them.

A line says what the file is, in which format and by which release; behind it is the encoding, compressed.
"""

import hashlib
import zlib
from datetime import datetime
from importlib.metadata import version
from typing import Final, NoReturn, Optional, Union

import msgspec

from scheduler_repo.entities.encoding import UNREADABLE
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.errors import InvalidSnapshot
from scheduler_repo.quoting import quoted
from scheduler_repo.scheduling.snapshot.encoding import (
    Envelope,
    decode_scheduling_data,
    encode_scheduling_data,
)
from scheduler_repo.scheduling.snapshot.leaves import Change, Leaf, compile_walk
from scheduler_repo.steps import finish

# Half a million pending sessions, of one kernel each. A file may unpack to no more, whatever its own size.
MAX_SNAPSHOT_BYTES: Final = 256 * 2**20

_MARK: Final = b"scheduler-repo snapshot"
_LONGEST_LINE: Final = 200
# One more whenever the same fields come to mean something else; the fields themselves are in the digest.
_MEANING: Final = 1
_RELEASE: Final = version("scheduler-repo")
_FILE_LEVEL: Final = 6
_ADVICE: Final = "write it again with: scheduler-repo snapshot GROUP -o FILE"
# Far above every sum of amounts, and short enough to be written out.
_LARGEST: Final = 2**128


def pack_snapshot(data: SchedulingData) -> bytes:
    """Pack a snapshot as the bytes of a file; equal snapshots give equal bytes in one release.

    Raises InvalidSnapshot for one above 256 MiB before compression. Cost: some 10 µs a pending session.
    """
    compressed = compress_encoding(finish(encode_scheduling_data(data)))
    return b"%s %s %s\n%s" % (_MARK, SNAPSHOT_FORMAT, _RELEASE.encode(), compressed)


def unpack_snapshot(packed: Union[bytes, memoryview]) -> SchedulingData:
    """Unpack what ``pack_snapshot`` packed.

    Safe for bytes of a stranger: nothing in them is run, and they unpack to 256 MiB at most. Raises
    InvalidSnapshot, in one line, for bytes of another format, cut off, damaged, or no snapshot.
    """
    line, newline, _ = bytes(packed[:_LONGEST_LINE]).partition(b"\n")
    words = line.removeprefix(_MARK).split()
    if not line.startswith(_MARK) or not newline or len(words) != 2:
        _refuse("it is empty" if not packed else f"it is no snapshot file; it begins with {_begin(packed)}")
    if words[0] != SNAPSHOT_FORMAT:
        theirs, ours = words[1].decode(errors="replace"), f"{_RELEASE}, which reads another one"
        _refuse(f"its format is that of scheduler-repo {quoted(theirs)}; this is {ours}")
    try:
        data = finish(decode_scheduling_data(decompress_encoding(packed[len(line) + 1 :])))
    except UNREADABLE as error:
        raise InvalidSnapshot("it is damaged: its bytes are no snapshot", advice=_ADVICE) from error
    _check(data)
    return data


def compress_encoding(encoded: bytes, level: int = _FILE_LEVEL) -> bytes:
    """Compress an encoded snapshot; raises InvalidSnapshot for one above 256 MiB."""
    if len(encoded) > MAX_SNAPSHOT_BYTES:
        size = f"the snapshot takes {len(encoded):,} bytes, above the {MAX_SNAPSHOT_BYTES:,} that are packed"
        raise InvalidSnapshot(size, advice="read it with a pending_limit")
    return zlib.compress(encoded, level)


def decompress_encoding(compressed: Union[bytes, memoryview]) -> bytes:
    """Undo ``compress_encoding``, to 256 MiB at most; raises InvalidSnapshot for other bytes."""
    stream = zlib.decompressobj()
    try:
        encoded = stream.decompress(compressed, MAX_SNAPSHOT_BYTES + 1)
    except zlib.error as error:
        raise InvalidSnapshot("it is damaged: its bytes do not unpack", advice=_ADVICE) from error
    if len(encoded) > MAX_SNAPSHOT_BYTES:
        _refuse(f"it unpacks to more than {MAX_SNAPSHOT_BYTES:,} bytes, the limit")
    if not stream.eof:
        _refuse("it was cut off: its end is missing")
    if stream.unused_data:
        _refuse(f"it is damaged: {len(stream.unused_data):,} bytes follow its end")
    return encoded


def _check(data: SchedulingData) -> None:
    """Refuse what is of the right types and could still be no snapshot of a database."""
    for index, slot_type in enumerate(data.slot_types):
        if slot_type.slot_index != index or slot_type.units_per_whole < 1:
            _refuse(f"it is damaged: its slot type {index} cannot be")
    sessions = data.pending_sessions
    for several, ids in (
        ("sessions", [session.session_id for session in sessions]),
        ("kernels", [kernel.kernel_id for session in sessions for kernel in session.kernels]),
        ("agents", [agent.agent_id for agent in data.agents]),
    ):
        if len(ids) != len(set(ids)):
            _refuse(f"it is damaged: two of its {several} have one id")
    _check_leaves(data)


def _check_leaf(leaf: Leaf) -> Optional[Change]:
    def check(value: object, _: object) -> object:
        if isinstance(value, datetime) and value.tzinfo is None:
            _refuse(f"it is damaged: {leaf.field} has a time without a zone")
        if isinstance(value, int) and not -_LARGEST < value < _LARGEST:
            _refuse(f"it is damaged: {leaf.field} has a number that cannot be")
        return value

    return check if leaf.kind in (datetime, int) else None


def _refuse(found: str) -> NoReturn:
    raise InvalidSnapshot(found, advice=_ADVICE)


def _begin(packed: Union[bytes, memoryview]) -> str:
    return repr(bytes(packed[:20]))[1:]


def _without_texts(schema: object) -> object:
    """Return a schema without the docstrings of its structs: other words are no other format."""
    if isinstance(schema, dict):
        return {
            key: _without_texts(value)
            for key, value in schema.items()
            if not (key == "description" and isinstance(value, str))
        }
    return [_without_texts(each) for each in schema] if isinstance(schema, list) else schema


def compute_format(kind: type) -> bytes:
    """Compute the format of a struct in a file: other fields are another one, other docstrings are not."""
    schema = _without_texts(msgspec.json.schema(kind))
    digest = hashlib.sha256(msgspec.json.encode(schema, order="sorted")).hexdigest()
    return f"{_MEANING}-{digest[:12]}".encode()


SNAPSHOT_FORMAT: Final = compute_format(Envelope)
_check_leaves = compile_walk(SchedulingData, _check_leaf)
