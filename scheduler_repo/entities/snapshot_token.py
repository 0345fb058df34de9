"""The token of a read: which instant, of which history of which database, its answer is true of.

Only a token with a history can be followed: what has changed since can be asked for. Text that is no token, was
changed or is of another version is refused before any of it is believed.
"""

import base64
import hashlib
import re
from collections.abc import Collection
from datetime import datetime
from itertools import pairwise
from typing import Final, NewType, Optional, Self, Union
from uuid import UUID

import msgspec

from scheduler_repo.errors import InvalidToken
from scheduler_repo.quoting import quoted
from scheduler_repo.types import TransactionId
from scheduler_repo.validation import Limit63, check_range

# The text of PostgreSQL's pg_current_snapshot(): xmin:xmax:xip,…
Snapshot = NewType("Snapshot", str)
# What a server is called from one crash to the next.
ServerLife = NewType("ServerLife", UUID)
# The transactions of writes that an answer must include, such as those of a tick; None for none.
Writes = Union[TransactionId, Collection[TransactionId], None]

_FORMAT: Final = "srt1"
_FAMILY: Final = re.compile(r"srt[0-9]{1,3}\.")
_DIGEST_BYTES: Final = 12
# Some hundred thousand transactions in progress: more than a server has connections.
_LONGEST: Final = 4_000_000
_SNAPSHOT: Final = re.compile(
    r"([1-9][0-9]{0,18}):([1-9][0-9]{0,18}):((?:[1-9][0-9]{0,18},)*[1-9][0-9]{0,18})?"
)

_encoder = msgspec.msgpack.Encoder(uuid_format="bytes")


class DatabaseIdentity(msgspec.Struct, frozen=True, gc=False):
    """The database that answered: its cluster, the database in it, its table sessions, its server's start.

    Copies of a database differ in one of these at least.
    """

    system_identifier: int
    database_oid: int
    table_oid: int
    started_at: datetime


class ChangeHistory(msgspec.Struct, frozen=True, gc=False):
    """The one history that a change log tells: of two tokens with equal ones, the later can follow the earlier.

    ``life`` ends with a crash of the server, which may lose what was committed last; ``timeline`` with a
    promotion. ``triggers`` is a digest of the triggers that write the log, all of them enabled always.
    """

    schema_oid: int
    log_oid: int
    timeline: int
    life: ServerLife
    triggers: str


class SnapshotToken(msgspec.Struct, frozen=True, gc=False):
    """The instant of a read, as a text that any process can send back: ``str(token)``.

    Without ``history`` nothing can be asked since: the server is a standby, its tables are filled by a
    subscription, a trigger of the change log is missing or not enabled always, or its life is not known.
    """

    snapshot: Snapshot
    database: DatabaseIdentity
    history: Optional[ChangeHistory]

    @property
    def xmax(self) -> int:
        """The first transaction that had not begun."""
        return int(self.snapshot.split(":")[1])

    def has_seen(self, transaction_id: TransactionId) -> bool:
        """Whether the snapshot includes the write whose result carries ``transaction_id``."""
        _, xmax, xip = self.snapshot.split(":")
        return transaction_id < int(xmax) and str(transaction_id) not in xip.split(",")

    def is_newer_than(self, other: "SnapshotToken") -> bool:
        """Whether it is of the same history and of a later instant; of two of one instant neither is newer."""
        if self.history is None or (self.database, self.history) != (other.database, other.history):
            return False
        return self._age > other._age

    @property
    def _age(self) -> tuple[int, int]:
        """A later snapshot has a higher xmax, or the same one and fewer in progress."""
        in_progress = self.snapshot.split(":")[2]
        return self.xmax, -in_progress.count(",") - bool(in_progress)

    def __str__(self) -> str:
        encoded = _encoder.encode(msgspec.structs.astuple(self))
        return f"{_FORMAT}.{base64.urlsafe_b64encode(_seal(encoded) + encoded).decode().rstrip('=')}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` wrote; raises InvalidToken for any other text, and says how it differs."""
        given: object = text
        if not isinstance(given, str) or len(given) > _LONGEST or not _FAMILY.match(given):
            raise _refused(given, "is no snapshot token")
        if not given.startswith(f"{_FORMAT}."):
            raise _refused(given, "is a snapshot token of another version")
        try:
            raw = base64.b64decode(
                given[len(_FORMAT) + 1 :] + "=" * (-len(given[5:]) % 4), b"-_", validate=True
            )
            seal, encoded = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
            if seal != _seal(encoded):
                raise ValueError
            snapshot, database, history = _decode(encoded)
            token = cls(snapshot, database, history)
            # The last character has bits to spare: a token has one spelling.
            if not is_snapshot(snapshot) or str(token) != given:
                raise ValueError
        except (ValueError, OverflowError, msgspec.MsgspecError):
            raise _refused(given, "is a damaged snapshot token") from None
        return token


_decode = msgspec.msgpack.Decoder(tuple[Snapshot, DatabaseIdentity, Optional[ChangeHistory]]).decode


def transactions_of(after: Writes) -> frozenset[TransactionId]:
    """Return the transactions that an answer must include; raises InvalidInput for what is none."""
    if after is None:
        return frozenset()
    several = after if isinstance(after, Collection) and not isinstance(after, (str, bytes)) else (after,)
    for transaction_id in several:
        check_range(transaction_id, Limit63, "after")
    return frozenset(several)


def is_snapshot(text: str) -> bool:
    """Whether PostgreSQL takes a text for a pg_snapshot."""
    found = _SNAPSHOT.fullmatch(text)
    if found is None:
        return False
    xmin, xmax = int(found[1]), int(found[2])
    in_progress = [int(each) for each in found[3].split(",")] if found[3] else []
    ordered = [xmin, *in_progress, xmax - 1] if in_progress else [xmin, xmax]
    is_ascending = all(one < other for one, other in pairwise(in_progress))
    # Their last 32 bits are 0 for no transaction.
    are_ones = xmax < 2**63 and all(each & 0xFFFF_FFFF for each in (xmin, xmax, *in_progress))
    return ordered == sorted(ordered) and is_ascending and are_ones


def _seal(encoded: bytes) -> bytes:
    return hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES, key=_FORMAT.encode()).digest()


def _refused(given: object, fault: str) -> InvalidToken:
    return InvalidToken(f"{quoted(given, 60)} {fault}; pass str(data.token) on as it is, or read everything")
