"""Only a whole entry is opened; whatever else lies there is told apart, and nothing is raised."""

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler_repo.cache.entry import LEASE, Entry, Header, Identity, build_entry, find_mismatch, open_entry
from scheduler_repo.cache.metrics import CacheName, CacheOutcome

IDENTITY = Identity(CacheName.SESSION, "the key", "f" * 16, "7/8")
HEADER = Header(IDENTITY, 1_000)


class TestEntry:
    @given(value=st.binary(max_size=3_000))
    def test_what_was_built_is_opened(self, value: bytes) -> None:
        found = open_entry(build_entry(HEADER, value))

        assert isinstance(found, Entry)
        assert (found.header, bytes(found.value)) == (HEADER, value)

    @given(value=st.binary(max_size=300), data=st.data())
    def test_one_changed_byte_is_seen(self, value: bytes, data: st.DataObject) -> None:
        entry = bytearray(build_entry(HEADER, value))
        position = data.draw(st.integers(0, len(entry) - 1))
        entry[position] ^= data.draw(st.integers(1, 255))

        assert open_entry(bytes(entry)) in (CacheOutcome.UNREADABLE, CacheOutcome.OTHER_FORMAT)

    @given(value=st.binary(max_size=300), data=st.data())
    def test_what_is_cut_or_longer_is_seen(self, value: bytes, data: st.DataObject) -> None:
        entry = build_entry(HEADER, value)
        cut = data.draw(st.integers(0, len(entry) - 1))

        assert open_entry(entry[:cut]) in (CacheOutcome.UNREADABLE, CacheOutcome.OTHER_FORMAT)
        assert open_entry(entry + b"\0") is CacheOutcome.UNREADABLE

    @given(entry=st.binary(max_size=300))
    def test_any_bytes_are_told_apart(self, entry: bytes) -> None:
        assume(not entry.startswith(LEASE))

        assert open_entry(entry) in (CacheOutcome.UNREADABLE, CacheOutcome.OTHER_FORMAT)

    def test_a_lease_is_no_entry(self) -> None:
        assert open_entry(LEASE + b"0" * 16) is CacheOutcome.BEING_FILLED

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, None),
            ({"cache": CacheName.SESSION_INFO}, CacheOutcome.OTHER_KEY),
            ({"key": "another"}, CacheOutcome.OTHER_KEY),
            ({"format_version": "0" * 16}, CacheOutcome.OTHER_FORMAT),
            ({"database": "7/9"}, CacheOutcome.OTHER_DATABASE),
        ],
    )
    def test_an_entry_is_checked(self, changes: dict[str, str], expected: CacheOutcome) -> None:
        assert find_mismatch(IDENTITY, msgspec.structs.replace(IDENTITY, **changes)) is expected
