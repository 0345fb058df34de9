"""Only a whole entry is opened; whatever else lies there is told apart, and nothing is raised."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler_repo.cache.entry import LEASE, DatabaseKey, Header, Opened, framed, judged, opened
from scheduler_repo.cache.metrics import CacheName, CacheOutcome

HEADER = Header("f" * 16, CacheName.SESSION, "the key", DatabaseKey(7, 8), 1_000)


class TestFrame:
    @given(value=st.binary(max_size=3_000))
    def test_what_was_framed_is_opened(self, value: bytes) -> None:
        found = opened(framed(HEADER, value))

        assert isinstance(found, Opened)
        assert (found.header, bytes(found.value)) == (HEADER, value)

    @given(value=st.binary(max_size=300), data=st.data())
    def test_one_changed_byte_is_seen(self, value: bytes, data: st.DataObject) -> None:
        entry = bytearray(framed(HEADER, value))
        position = data.draw(st.integers(0, len(entry) - 1))
        entry[position] ^= data.draw(st.integers(1, 255))

        assert opened(bytes(entry)) in (CacheOutcome.UNREADABLE, CacheOutcome.OTHER_FORMAT)

    @given(value=st.binary(max_size=300), data=st.data())
    def test_what_is_cut_or_longer_is_seen(self, value: bytes, data: st.DataObject) -> None:
        entry = framed(HEADER, value)
        cut = data.draw(st.integers(0, len(entry) - 1))

        assert opened(entry[:cut]) in (CacheOutcome.UNREADABLE, CacheOutcome.OTHER_FORMAT)
        assert opened(entry + b"\0") is CacheOutcome.UNREADABLE

    @given(entry=st.binary(max_size=300))
    def test_any_bytes_are_told_apart(self, entry: bytes) -> None:
        assume(not entry.startswith(LEASE))

        assert opened(entry) in (CacheOutcome.UNREADABLE, CacheOutcome.OTHER_FORMAT)

    def test_a_lease_is_no_entry(self) -> None:
        assert opened(LEASE + b"0" * 16) is CacheOutcome.BEING_FILLED

    @pytest.mark.parametrize(
        ("name", "key", "format_version", "expected"),
        [
            (CacheName.SESSION, "the key", "f" * 16, None),
            (CacheName.SESSION_INFO, "the key", "f" * 16, CacheOutcome.OTHER_KEY),
            (CacheName.SESSION, "another", "f" * 16, CacheOutcome.OTHER_KEY),
            (CacheName.SESSION, "the key", "0" * 16, CacheOutcome.OTHER_FORMAT),
        ],
    )
    def test_an_entry_is_judged(
        self, name: CacheName, key: str, format_version: str, expected: CacheOutcome
    ) -> None:
        assert judged(HEADER, format_version=format_version, cache=name, key=key) is expected
