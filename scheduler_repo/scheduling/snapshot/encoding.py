"""SchedulingData as bytes (msgpack) and back, in chunks that let an event loop turn."""

from collections.abc import Sequence
from typing import Union

import msgspec

from scheduler_repo.entities.encoding import build_decoder, encode
from scheduler_repo.entities.scheduling_data import PendingSession, PreemptionCandidate, SchedulingData
from scheduler_repo.steps import CHUNK_ROWS, Steps

_decode_sessions = build_decoder(tuple[PendingSession, ...])
_decode_candidates = build_decoder(tuple[PreemptionCandidate, ...])


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """The outer layer; all sessions stand apart so that each chunk is decoded by itself.

    Its schema is the format: bytes of another one must not be decoded.
    """

    without_sessions: SchedulingData
    session_chunks: tuple[memoryview, ...]
    candidate_chunks: tuple[memoryview, ...]


_decode_envelope = build_decoder(Envelope)


def encode_scheduling_data(data: SchedulingData) -> Steps[bytes]:
    """Encode ``data``; about 0.5 kB a pending session."""
    session_chunks = yield from _chunks(data.pending_sessions)
    candidate_chunks = yield from _chunks(data.preemption_candidates)
    without_sessions = msgspec.structs.replace(data, pending_sessions=(), preemption_candidates=())
    return encode(Envelope(without_sessions, session_chunks, candidate_chunks))


def decode_scheduling_data(encoded: Union[bytes, memoryview]) -> Steps[SchedulingData]:
    """Decode what ``encode_scheduling_data`` wrote; raises what msgspec does for bytes that are no encoding."""
    envelope = _decode_envelope(encoded)
    sessions: list[PendingSession] = []
    for chunk in envelope.session_chunks:
        yield
        sessions.extend(_decode_sessions(chunk))
    candidates: list[PreemptionCandidate] = []
    for chunk in envelope.candidate_chunks:
        yield
        candidates.extend(_decode_candidates(chunk))
    return msgspec.structs.replace(
        envelope.without_sessions, pending_sessions=tuple(sessions), preemption_candidates=tuple(candidates)
    )


def _chunks(sessions: Sequence[Union[PendingSession, PreemptionCandidate]]) -> Steps[tuple[memoryview, ...]]:
    chunks = []
    for start in range(0, len(sessions), CHUNK_ROWS):
        chunks.append(memoryview(encode(sessions[start : start + CHUNK_ROWS])))
        yield
    return tuple(chunks)
