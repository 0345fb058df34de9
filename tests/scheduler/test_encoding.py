"""SchedulingData as bytes: the way back, bytes that are broken, and structs that have changed."""

import re
import sys
from types import ModuleType

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scheduler_repo.database.sql_files import SQL_ROOT
from scheduler_repo.entities import scheduling_data as data_module
from scheduler_repo.entities.encoding import UNREADABLE, compute_format_version
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.scheduling.snapshot.encoding import (
    Envelope,
    decode_scheduling_data,
    encode_scheduling_data,
)
from scheduler_repo.steps import CHUNK_ROWS, finish
from tests.support.strategies import (
    ACCESS_KEYS,
    X86,
    make_agent,
    make_candidate,
    make_data,
    make_session,
    make_usage,
    scheduling_data,
)

DATA = make_data(
    (make_agent("agent", (5, 2**40, 0), (1, 1, 0), max_containers=7),),
    tuple(make_session(number, (1, 2**62, 0), (0,), architectures=(X86, None)) for number in range(1, 4)),
    access_keys=tuple(
        make_usage(key, slot_limits=(None, 0, 7), max_concurrent_sessions=1) for key in ACCESS_KEYS
    ),
)
ENCODED = finish(encode_scheduling_data(DATA))
PACKAGE = SQL_ROOT.parent / "scheduler_repo"
FORMAT_VERSION = compute_format_version(Envelope)
FIELD = re.compile(r"^    ([a-z_]+): (\S.*)$", re.MULTILINE)


def look_at(encoded: bytes) -> None:
    """Decode what may be broken, and make every check that a reader of the cache makes."""
    try:
        decoded = finish(decode_scheduling_data(encoded))
    except UNREADABLE:
        return
    assert isinstance(decoded, SchedulingData)
    assert isinstance(decoded.scaling_group.name == "gpu", bool)
    assert isinstance(decoded.pending_limit is None, bool)
    assert isinstance(decoded.token == DATA.token, bool)
    hash(decoded)


def changed_version(monkeypatch: pytest.MonkeyPatch, source: str) -> str:
    """The format version that the encoding would have if data.py were ``source``."""
    changed = ModuleType(data_module.__name__)
    with monkeypatch.context() as context:
        context.setitem(sys.modules, data_module.__name__, changed)
        exec(compile(source, "data.py", "exec"), changed.__dict__)  # noqa: S102 - the module's own source
        encoding = ModuleType("changed_encoding")
        context.setitem(sys.modules, encoding.__name__, encoding)
        own = (PACKAGE / "scheduling" / "snapshot" / "encoding.py").read_text(encoding="utf-8")
        exec(compile(own, "encoding.py", "exec"), encoding.__dict__)  # noqa: S102 - the same
        return compute_format_version(encoding.Envelope)


class TestRoundTrip:
    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # a loaded machine is no fault
    @given(data=scheduling_data())
    def test_what_was_encoded_comes_back(self, data: SchedulingData) -> None:
        assert finish(decode_scheduling_data(finish(encode_scheduling_data(data)))) == data

    @pytest.mark.parametrize("sessions", [0, 1, CHUNK_ROWS, CHUNK_ROWS + 1])
    def test_sessions_of_one_chunk_and_of_more(self, sessions: int) -> None:
        # given
        data = make_data(
            (),
            tuple(make_session(number, (1,)) for number in range(sessions)),
            preemption_candidates=tuple(make_candidate(number) for number in range(sessions)),
        )
        # when / then
        assert finish(decode_scheduling_data(finish(encode_scheduling_data(data)))) == data


class TestBrokenBytes:
    def test_truncated_anywhere(self) -> None:
        for length in range(len(ENCODED)):
            # when / then
            with pytest.raises(UNREADABLE):
                finish(decode_scheduling_data(ENCODED[:length]))

    def test_every_third_bit_flipped(self) -> None:
        for place in range(0, len(ENCODED) * 8, 3):
            # given
            broken = bytearray(ENCODED)
            broken[place // 8] ^= 1 << place % 8
            # when / then
            look_at(bytes(broken))

    @given(data=st.data())
    def test_bytes_replaced_inserted_and_removed(self, data: st.DataObject) -> None:
        # given
        broken = bytearray(ENCODED)
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(broken)))
            broken[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        # when / then
        look_at(bytes(broken))

    @given(encoded=st.binary(max_size=200))
    @example(encoded=b"")
    @example(encoded=b"\x91" * 100_000)
    @example(encoded=b"\x81\xa1a" * 100_000)
    def test_random_bytes(self, encoded: bytes) -> None:
        # when / then
        look_at(encoded)

    @pytest.mark.parametrize("nesting", [b"\x91", b"\x81\xa1a"])
    def test_deep_nesting_inside_an_envelope(self, nesting: bytes) -> None:
        # when / then
        look_at(b"\x93" + nesting * 200_000)


class TestFormatVersion:
    @pytest.fixture
    def source(self) -> str:
        return (PACKAGE / "entities" / "scheduling_data.py").read_text(encoding="utf-8")

    def test_same_structs_have_the_same_version(self, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
        # when / then
        assert changed_version(monkeypatch, source) == FORMAT_VERSION

    def test_every_field_that_is_renamed_changes_it(self, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
        # given
        fields = list(FIELD.finditer(source))
        assert len(fields) > 50
        for field in fields:
            # when
            changed = f"{source[: field.start(1)]}new_{source[field.start(1) :]}"
            # then
            assert changed_version(monkeypatch, changed) != FORMAT_VERSION, field[0]

    def test_every_field_of_another_type_changes_it(self, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
        for field in FIELD.finditer(source):
            # when
            changed = f"{source[: field.start(2)]}float{source[field.end(2) :]}"
            # then
            assert changed_version(monkeypatch, changed) != FORMAT_VERSION, field[0]

    def test_every_field_that_may_be_absent_changes_it(
        self, monkeypatch: pytest.MonkeyPatch, source: str
    ) -> None:
        for field in FIELD.finditer(source):
            if not field[2].startswith("Optional"):
                # when
                changed = f"{source[: field.start(2)]}Optional[{field[2]}]{source[field.end(2) :]}"
                # then
                assert changed_version(monkeypatch, changed) != FORMAT_VERSION, field[0]
