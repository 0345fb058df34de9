"""What a profile holds, as its folder keeps it in one JSON file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Optional

import msgspec

from bench.data.sizes import SizeName
from bench.profiling.blocks import LoopBlock
from bench.profiling.frames import FrameNode, HotFrame
from bench.profiling.phases import Phase
from bench.profiling.plans import StatementPlan
from scheduler_repo.errors import InvalidInput

FILE: Final = "profile.json"
KIND: Final = "scheduler-repo profile"
FORMAT: Final = 1


class CaseProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One case: its times in milliseconds, medians of ``turns`` turns, and what each instrument saw.

    ``peak_bytes`` is what one call held at the most; ``allocated`` says who had allocated it.
    """

    name: str
    turns: int
    total_ms: float
    min_ms: float
    max_ms: float
    phases: tuple[Phase, ...]
    plans: tuple[StatementPlan, ...]
    blocks: tuple[LoopBlock, ...]
    hottest: tuple[HotFrame, ...]
    allocated: tuple[HotFrame, ...]
    peak_bytes: int


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A whole profile; ``kind`` and ``format`` tell its file from others.

    ``server_clock`` says how the server's own times were taken: "log" or "explain".
    """

    kind: str
    format: int
    suite: str
    size: str
    server_clock: str
    machine: Mapping[str, object]
    summary: tuple[str, ...]
    cases: tuple[CaseProfile, ...]

    def to_json(self) -> bytes:
        """Encode the profile as one JSON object in one line."""
        return msgspec.json.encode(self)


class Graphs(msgspec.Struct, frozen=True):
    """What is drawn of a case and not kept otherwise: its time by thread, in milliseconds, and its memory."""

    time: Mapping[str, FrameNode]
    memory: FrameNode


def name_cluster(size: str) -> str:
    """Name what was profiled by the size that a profile says: of a cluster, the trace, or a user's own."""
    return f"size {size}" if size in tuple(SizeName) else size


class _Head(msgspec.Struct):
    kind: Optional[str] = None
    format: Optional[int] = None


def is_profile(folder: Path) -> bool:
    """Whether a folder holds a profile, of whatever version."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=_Head).kind == KIND
    except (OSError, msgspec.DecodeError):
        return False


def read_profile(folder: Path) -> Profile:
    """Read a kept profile; raises InvalidInput for a folder that holds none that this version can read."""
    if not is_profile(folder):
        raise InvalidInput(f"{folder} is no profile: it has no {FILE} of one; give the --output of a profile")
    content = (folder / FILE).read_bytes()
    head = msgspec.json.decode(content, type=_Head)
    if head.format != FORMAT:
        raise InvalidInput(
            f"{folder} is a profile of format {head.format}, this version reads format {FORMAT}; take it again"
        )
    try:
        return msgspec.json.decode(content, type=Profile)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{folder}/{FILE} is damaged ({error}); take the profile again") from error
