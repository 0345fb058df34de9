"""Values as PostgreSQL sends or writes them, where the driver would take many times as long."""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat
from operator import add, truediv
from typing import Final, Optional

import msgspec

_ITS_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_PER_SECOND: Final = 1_000_000
_SINCE_1970: Final = int(_ITS_EPOCH.timestamp()) * _PER_SECOND
# Until 2106 the seconds since 1970 as a float are right to a quarter of a microsecond, and so come out exactly.
_EXACT: Final = 2**32 * _PER_SECOND


def read_times(sent: Sequence[bytes]) -> list[datetime]:
    """Read timestamptz values as timestamptz_send has them, microseconds since 2000, to the microsecond."""
    since_2000 = struct.unpack(f">{len(sent)}q", b"".join(sent))
    since_1970 = [*map(add, since_2000, repeat(_SINCE_1970))]
    if min(since_1970, default=0) > -_EXACT and max(since_1970, default=0) < _EXACT:
        seconds = [*map(truediv, since_1970, repeat(_PER_SECOND))]
        return msgspec.convert(seconds, list[datetime], strict=False)
    return [_ITS_EPOCH + timedelta(microseconds=each) for each in since_2000]


def read_amounts(text: str) -> tuple[int, ...]:
    """Read an array of whole numbers as PostgreSQL writes it."""
    return tuple(map(int, text[1:-1].split(","))) if text != "{}" else ()


def read_limits(text: str) -> tuple[Optional[int], ...]:
    """Read an array of limits as PostgreSQL writes it; NULL is no limit."""
    if text == "{}":
        return ()
    return tuple(None if each == "NULL" else int(each) for each in text[1:-1].split(","))
