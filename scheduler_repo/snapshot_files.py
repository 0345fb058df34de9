"""Snapshots in files: written whole or not at all, read without trusting them."""

import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO, Final, Union

from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.errors import InvalidSnapshot
from scheduler_repo.scheduling.snapshot.packing import MAX_SNAPSHOT_BYTES, pack_snapshot, unpack_snapshot

_PIECE_BYTES: Final = 2**20
_ADVICE: Final = "give a file that scheduler-repo snapshot GROUP -o FILE wrote"

AnyPath = Union[str, "os.PathLike[str]"]


def write_snapshot(path: AnyPath, data: SchedulingData) -> int:
    """Write a snapshot to a file, in place of what is there; returns the number of bytes.

    The file is whole or as it was, whatever happens meanwhile, and only its owner may read it, as it names
    people. Raises OSError if it cannot be written, and InvalidSnapshot above 256 MiB.
    """
    packed = pack_snapshot(data)
    # A link stays one: what it leads to is replaced.
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            # A device or a pipe takes the bytes as they come; opening a folder is an error that says so.
            with target.open("wb") as stream:
                stream.write(packed)
        else:
            _write_beside(target, packed)
    except OSError as error:
        # It may name no file, or the one beside.
        error.filename, error.filename2 = os.fspath(path), None
        raise
    return len(packed)


def read_snapshot(path: AnyPath) -> SchedulingData:
    """Read what ``write_snapshot`` wrote; safe for a file of a stranger.

    Raises InvalidSnapshot, with the path, for a file that cannot be read, of another format, cut off, damaged
    or above 256 MiB, and for one that is no snapshot.
    """
    shown = os.fspath(path)
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - a path may be a text
            return read_snapshot_from(stream)
    except InvalidSnapshot as error:
        raise error.with_message(f"{shown}: {error.found}", error.advice) from error.__cause__
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidSnapshot(f"{shown!r} cannot be read: {reason}", advice=_ADVICE) from error


def read_snapshot_from(stream: BinaryIO) -> SchedulingData:
    """Read a snapshot from an open file or pipe to its end; raises InvalidSnapshot, and what reading raises."""
    packed = bytearray()
    while piece := stream.read(_PIECE_BYTES):
        packed += piece
        if len(packed) > MAX_SNAPSHOT_BYTES:
            raise InvalidSnapshot(f"it is above {MAX_SNAPSHOT_BYTES:,} bytes, the limit", advice=_ADVICE)
    return unpack_snapshot(memoryview(packed))


def _write_beside(target: Path, packed: bytes) -> None:
    descriptor, beside = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 - it is open already
            if target.exists():
                os.fchmod(stream.fileno(), stat.S_IMODE(target.stat().st_mode))
            stream.write(packed)
            stream.flush()
            os.fsync(stream.fileno())
        Path(beside).replace(target)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
