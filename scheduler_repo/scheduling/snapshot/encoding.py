"""SchedulingData as bytes (msgpack) and back, in chunks that let an event loop turn."""

import hashlib
from collections.abc import Sequence
from typing import Optional, Union

import msgspec

from scheduler_repo.entities.scheduling_data import PendingSession, PreemptionCandidate, SchedulingData
from scheduler_repo.scheduling.snapshot.build import CHUNK_ROWS, Steps

_encoder = msgspec.msgpack.Encoder(uuid_format="bytes")
_decode_sessions = msgspec.msgpack.Decoder(tuple[PendingSession, ...]).decode
_decode_candidates = msgspec.msgpack.Decoder(tuple[PreemptionCandidate, ...]).decode


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    """The outer layer; all sessions stand apart so that each chunk is decoded by itself."""

    format_version: str
    lifetime_ms: int
    without_sessions: SchedulingData
    session_chunks: tuple[msgspec.Raw, ...]
    candidate_chunks: tuple[msgspec.Raw, ...]


# Any change of the structs is another format: old bytes are then refused, not misread.
FORMAT_VERSION = hashlib.sha256(
    msgspec.json.encode(msgspec.json.schema(_Envelope), order="sorted")
).hexdigest()[:16]


class _AnyEnvelope(msgspec.Struct, frozen=True, array_like=True):
    """As much of an envelope as every format has."""

    format_version: str


_decode_envelope = msgspec.msgpack.Decoder(_Envelope).decode
_decode_version = msgspec.msgpack.Decoder(_AnyEnvelope).decode

# What the decoder may raise on bytes that are not an envelope, whatever they are.
UNREADABLE = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, MemoryError)


class Decoded(msgspec.Struct, frozen=True):
    """A decoded SchedulingData and the whole lifetime that its writer gave it, in milliseconds."""

    data: SchedulingData
    lifetime_ms: int


def encode_scheduling_data(data: SchedulingData, lifetime_ms: int) -> Steps[bytes]:
    """Encode ``data``; about 0.5 kB a pending session."""
    session_chunks = yield from _chunks(data.pending_sessions)
    candidate_chunks = yield from _chunks(data.preemption_candidates)
    without_sessions = msgspec.structs.replace(data, pending_sessions=(), preemption_candidates=())
    return _encoder.encode(
        _Envelope(FORMAT_VERSION, lifetime_ms, without_sessions, session_chunks, candidate_chunks)
    )


def decode_scheduling_data(encoded: Union[bytes, memoryview]) -> Steps[Optional[Decoded]]:
    """Decode what ``encode_scheduling_data`` wrote; None if it is of another format version.

    Raises one of ``UNREADABLE`` for bytes that are no encoding at all.
    """
    if _decode_version(encoded).format_version != FORMAT_VERSION:
        return None
    envelope = _decode_envelope(encoded)
    sessions: list[PendingSession] = []
    for chunk in envelope.session_chunks:
        yield
        sessions.extend(_decode_sessions(chunk))
    candidates: list[PreemptionCandidate] = []
    for chunk in envelope.candidate_chunks:
        yield
        candidates.extend(_decode_candidates(chunk))
    data = msgspec.structs.replace(
        envelope.without_sessions,
        pending_sessions=tuple(sessions),
        preemption_candidates=tuple(candidates),
    )
    return Decoded(data, envelope.lifetime_ms)


def _chunks(
    sessions: Sequence[Union[PendingSession, PreemptionCandidate]],
) -> Steps[tuple[msgspec.Raw, ...]]:
    chunks = []
    for start in range(0, len(sessions), CHUNK_ROWS):
        chunks.append(msgspec.Raw(_encoder.encode(sessions[start : start + CHUNK_ROWS])))
        yield
    return tuple(chunks)
