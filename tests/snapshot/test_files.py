"""Snapshots in files: the way back, and every file that is none."""

import io
import os
import resource
import stat
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.errors import InvalidInput, InvalidSnapshot
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.snapshot import packing
from scheduler_repo.scheduling.snapshot.packing import compute_format, pack_snapshot, unpack_snapshot
from scheduler_repo.snapshot_files import read_snapshot, read_snapshot_from, write_snapshot
from scheduler_repo.types import KernelId, SlotName
from tests.support.strategies import (
    ACCESS_KEYS,
    SLOT_TYPES,
    make_agent,
    make_data,
    make_session,
    make_usage,
    reserved_scheduling_data,
)

DATA = make_data((make_agent("agent", (5, 7, 0)),), (make_session(1, (1, 2, 0)), make_session(2, (9, 9, 9))))
PACKED = pack_snapshot(DATA)
LINE, BODY = PACKED.split(b"\n", 1)


def packed_as(encoded: bytes) -> bytes:
    return LINE + b"\n" + zlib.compress(encoded)


def with_one_id(session: PendingSession) -> PendingSession:
    """The session with kernels that have the id of every other's."""
    kernel_id = KernelId(UUID(int=1))
    kernels = tuple(msgspec.structs.replace(each, kernel_id=kernel_id) for each in session.kernels)
    return msgspec.structs.replace(session, kernels=kernels)


def of(change: Callable[[SchedulingData], SchedulingData]) -> bytes:
    return pack_snapshot(change(DATA))


class TestWayBack:
    @settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
    @given(reserved_scheduling_data())
    def test_what_is_read_is_what_was_written(self, data: SchedulingData) -> None:
        assert unpack_snapshot(pack_snapshot(data)) == data

    def test_amounts_of_any_size(self) -> None:
        wide = make_data(access_keys=tuple(make_usage(key, (2**70, 1, 0)) for key in ACCESS_KEYS))
        assert unpack_snapshot(pack_snapshot(wide)) == wide

    def test_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "case.snapshot"
        assert write_snapshot(path, DATA) == path.stat().st_size
        assert read_snapshot(str(path)) == DATA
        assert path.read_bytes() == pack_snapshot(msgspec.structs.replace(DATA)) == PACKED
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [path]

    def test_a_file_in_place_of_another(self, tmp_path: Path) -> None:
        path, link = tmp_path / "case", tmp_path / "link"
        path.write_text("old")
        path.chmod(0o640)
        link.symlink_to(path)
        write_snapshot(link, DATA)
        assert read_snapshot(link) == DATA
        assert (link.is_symlink(), stat.S_IMODE(path.stat().st_mode)) == (True, 0o640)

    def test_a_pipe(self, tmp_path: Path) -> None:
        # Given a pipe with room for all of it
        path = tmp_path / "pipe"
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        write_snapshot(path, DATA)
        assert os.read(reader, 1_000_000) == PACKED
        os.close(reader)
        assert stat.S_ISFIFO(path.stat().st_mode)


class TestFormat:
    def test_other_fields_are_another_one_other_words_are_not(self) -> None:
        class Told(msgspec.Struct):
            """One text."""

            description: int
            token: str

        def variant(text: str, **fields: type) -> type:
            made = msgspec.defstruct("Told", fields.items())
            made.__doc__ = text
            return made

        same = variant("Another text.", description=int, token=str)
        more = variant("One text.", description=int, token=str, limit=int)
        assert compute_format(Told) == compute_format(same) != compute_format(more)
        assert compute_format(variant("One text.", description=int, token=int)) != compute_format(Told)


class TestNoFile:
    def test_what_cannot_be_written_leaves_what_was_there(self, tmp_path: Path) -> None:
        # Given
        path = tmp_path / "case"
        path.write_text("old")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(PACKED) // 2, hard))

        # When
        try:
            with pytest.raises(OSError, match="File too large") as caught:
                write_snapshot(path, DATA)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        # Then
        assert caught.value.filename == str(path)
        assert [each.name for each in tmp_path.iterdir()] == ["case"]
        assert path.read_text() == "old"

    @pytest.mark.parametrize("path", ["/no/such/folder/case", "/", "/dev/full"])
    def test_a_place_for_no_file(self, path: str) -> None:
        with pytest.raises(OSError, match=r"No such|Is a directory|No space left"):
            write_snapshot(path, DATA)

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/no/such", "'/no/such' cannot be read: No such file or directory; give a file that"),
            ("/", "'/' cannot be read: Is a directory"),
            ("a\0b", "cannot be read: embedded null byte"),
            ("/dev/null", "/dev/null: it is empty"),
        ],
    )
    def test_a_path_that_leads_to_none(self, path: str, expected: str) -> None:
        with pytest.raises(InvalidSnapshot) as caught:
            read_snapshot(path)
        assert expected in str(caught.value)


class TestStrangeBytes:
    @pytest.mark.parametrize(
        ("packed", "expected"),
        [
            (b"", "it is empty; write it again with: scheduler-repo snapshot GROUP -o FILE"),
            (b'{"snapshot": "1:1:"}\n', "it is no snapshot file; it begins with '{"),
            (LINE, "it is no snapshot file"),
            (
                b"scheduler-repo snapshot 0-0 \x1b[1m9.9\n" + BODY,
                r"that of scheduler-repo '\x1b[1m9.9'; this is",
            ),
            (PACKED[:-1], "it was cut off: its end is missing"),
            (LINE + b"\n", "it was cut off"),
            (PACKED + b"x", "it is damaged: 1 bytes follow its end"),
            (LINE + b"\nxyz", "it is damaged: its bytes do not unpack"),
            (PACKED[:-2] + b"xx", "it is damaged: its bytes do not unpack"),
            (packed_as(b"\x93\x01\x02\x03"), "it is damaged: its bytes are no snapshot"),
            (packed_as(b"\x91" * 100_000), "it is damaged: its bytes are no snapshot"),
        ],
    )
    def test_one_line_says_what_they_are(self, packed: bytes, expected: str) -> None:
        with pytest.raises(InvalidSnapshot) as caught:
            unpack_snapshot(packed)
        assert expected in str(caught.value)
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize(
        "change",
        [
            lambda data: msgspec.structs.replace(data, observed_at=datetime(2030, 1, 1)),  # noqa: DTZ001
            lambda data: msgspec.structs.replace(data, pending_limit=2**128),
            lambda data: msgspec.structs.replace(data, slot_types=SLOT_TYPES[1:]),
            lambda data: msgspec.structs.replace(data, pending_sessions=data.pending_sessions[:1] * 2),
            lambda data: msgspec.structs.replace(data, agents=data.agents * 2),
            lambda data: msgspec.structs.replace(
                data, pending_sessions=tuple(with_one_id(each) for each in data.pending_sessions)
            ),
            lambda data: msgspec.structs.replace(data, slot_types=(SlotType(SlotName("x"), 0, 0, ""),)),
        ],
    )
    def test_what_no_database_has_is_refused(self, change: Callable[[SchedulingData], SchedulingData]) -> None:
        with pytest.raises(InvalidSnapshot, match="it is damaged"):
            unpack_snapshot(of(change))

    @given(st.data())
    def test_any_damage_is_seen_or_harmless(self, data: st.DataObject) -> None:
        # Given bytes of the encoding changed before compression, so that its checksum fits
        encoded = bytearray(zlib.decompress(BODY))
        for _ in range(data.draw(st.integers(1, 3))):
            encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
        # When they are read, then a planner can work on what comes out
        try:
            unpacked = unpack_snapshot(packed_as(bytes(encoded)))
        except InvalidSnapshot:
            return
        with suppress(InvalidInput):
            BestFitPlanner().plan(unpacked)

    def test_a_bomb_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packing, "MAX_SNAPSHOT_BYTES", 2**20)
        bomb = packed_as(bytes(2**26))
        assert len(bomb) < 2**17
        tracemalloc.start()
        with pytest.raises(InvalidSnapshot, match="it unpacks to more than 1,048,576 bytes"):
            unpack_snapshot(bomb)
        # Then no more of it was unpacked than the limit
        assert tracemalloc.get_traced_memory()[1] < 2**23
        tracemalloc.stop()
        monkeypatch.setattr(packing, "MAX_SNAPSHOT_BYTES", 100)
        with pytest.raises(InvalidSnapshot, match="read it with a pending_limit"):
            pack_snapshot(DATA)

    def test_an_endless_stream_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("scheduler_repo.snapshot_files.MAX_SNAPSHOT_BYTES", 2**20)
        with pytest.raises(InvalidSnapshot, match="/dev/zero: it is above 1,048,576 bytes"):
            read_snapshot("/dev/zero")
        assert read_snapshot_from(io.BytesIO(PACKED)) == DATA
