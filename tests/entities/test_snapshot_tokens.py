"""Snapshot tokens as text: what was written is read back, and nothing else is believed."""

import base64
import sys
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from scheduler_repo.entities.snapshot_token import (
    ChangeHistory,
    DatabaseIdentity,
    ServerLife,
    Snapshot,
    SnapshotToken,
    is_snapshot,
)
from scheduler_repo.errors import InvalidToken
from scheduler_repo.types import TransactionId

# The server leaves out numbers that end in 32 bits of 0 to 2.
xids = st.integers(3, 2**63 - 2).filter(lambda xid: 3 <= xid % 2**32 < 2**32 - 1)
DATABASE = DatabaseIdentity(7_300_000_000_000_000_001, 16_384, 16_400, datetime(2026, 1, 2, tzinfo=UTC))
HISTORY = ChangeHistory(2_200, 16_500, 1, ServerLife(UUID(int=7)), "a" * 32)
TOKEN = SnapshotToken(Snapshot("741:745:741,743"), DATABASE, HISTORY)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    xip = sorted(draw(st.sets(xids, max_size=5)))
    ends = sorted((draw(xids), draw(xids)))
    xmin, xmax = (xip[0], xip[-1] + 1) if xip else ends
    return Snapshot(f"{xmin}:{xmax}:{','.join(map(str, xip))}")


class TestText:
    @given(snapshots(), st.sampled_from([None, HISTORY]))
    def test_is_read_back_as_it_was_written(self, snapshot: Snapshot, history: ChangeHistory) -> None:
        token = SnapshotToken(snapshot, DATABASE, history)
        assert SnapshotToken.parse(str(token)) == token

    @given(st.data())
    def test_is_refused_with_any_character_changed(self, data: st.DataObject) -> None:
        text = str(TOKEN)
        at = data.draw(st.integers(0, len(text) - 1))
        other = data.draw(st.integers(0, sys.maxunicode).map(chr).filter(lambda each: each != text[at]))
        with pytest.raises(InvalidToken):
            SnapshotToken.parse(f"{text[:at]}{other}{text[at + 1 :]}")

    @pytest.mark.parametrize(
        "text", ["", "741:745:741", "srt1", "srt1.", "srt1.AAAA", str(TOKEN)[:-1], None, 7]
    )
    def test_is_refused_where_it_is_none(self, text: str) -> None:
        with pytest.raises(InvalidToken):
            SnapshotToken.parse(text)

    def test_of_another_version_is_told_apart(self) -> None:
        with pytest.raises(InvalidToken, match="of another version"):
            SnapshotToken.parse(str(TOKEN).replace("srt1.", "srt0."))

    def test_made_by_hand_around_a_snapshot_that_is_none_is_refused(self) -> None:
        made = str(SnapshotToken(Snapshot("9:3:'"), DATABASE, HISTORY))
        with pytest.raises(InvalidToken, match="damaged"):
            SnapshotToken.parse(made)

    def test_holds_the_snapshot_and_no_name(self) -> None:
        text = str(TOKEN).partition(".")[2]
        assert b"741:745:741,743" in base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class TestSnapshots:
    @given(snapshots())
    def test_of_the_server_are_ones(self, snapshot: Snapshot) -> None:
        assert is_snapshot(snapshot)

    @pytest.mark.parametrize(
        "text",
        [
            "3:2:",
            "1:2:2",
            "1:9:5,4",
            "1:9:4,4",
            "4:9:3",
            "1:2",
            "1:2:,",
            "-1:2:",
            "1:99999999999999999999:",
            f"1:{2**32}:",
        ],
    )
    def test_that_the_server_refuses_are_none(self, text: str) -> None:
        assert not is_snapshot(text)

    def test_have_seen_what_ended_before_them_alone(self) -> None:
        seen = [xid for xid in range(739, 748) if TOKEN.has_seen(TransactionId(xid))]
        assert seen == [739, 740, 742, 744]


class TestOrder:
    """Which of two tokens of one history is the newer one."""

    @pytest.mark.parametrize(
        ("older", "newer"),
        [("10:20:", "10:21:"), ("9:20:9,12", "9:20:12"), ("9:20:12", "20:20:"), ("9:99:9", "100:100:")],
    )
    def test_within_a_history(self, older: str, newer: str) -> None:
        before, after = (replace(TOKEN, snapshot=Snapshot(each)) for each in (older, newer))
        assert after.is_newer_than(before)
        assert not before.is_newer_than(after)
        assert not before.is_newer_than(before)

    def test_of_two_histories_neither_is(self) -> None:
        later = replace(TOKEN, snapshot=Snapshot("9000:9000:"))
        assert later.history is not None
        for other in (
            replace(later, history=None),
            replace(later, history=replace(later.history, timeline=99)),
            replace(later, database=replace(later.database, table_oid=99)),
        ):
            assert not other.is_newer_than(TOKEN)
            assert not TOKEN.is_newer_than(other)
