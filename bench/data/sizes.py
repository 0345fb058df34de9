"""The sizes of clusters, and what a cluster of a size needs of the machine."""

import enum
import math
from typing import Final

import msgspec

MEBIBYTE: Final = 2**20
# With its kernels, history and index entries, and the WAL that loading it writes.
_DISK_BYTES_PER_SESSION: Final = 4_000
_SERVER_DISK_BYTES: Final = 200 * MEBIBYTE
# As ORM entities, the largest form in which a suite holds a queue, with kernels.
_MEMORY_BYTES_PER_SESSION: Final = 12_000
_SERVER_MEMORY_BYTES: Final = 600 * MEBIBYTE
# One session in five has four kernels, the others have one.
KERNELS_PER_FIVE_SESSIONS: Final = 8


class SizeName(enum.StrEnum):
    """The sizes by name; XS is for tests and a first try, its figures mean little."""

    XS = "XS"
    S = "S"
    M = "M"
    L = "L"
    XL = "XL"


class ClusterSize(msgspec.Struct, frozen=True):
    """How many agents and sessions a cluster has, those of all its groups together."""

    agents: int
    running: int
    pending: int
    finished: int

    @property
    def sessions(self) -> int:
        """All of them."""
        return self.running + self.pending + self.finished

    @property
    def disk_bytes(self) -> int:
        """The most that the database and its WAL take."""
        return _SERVER_DISK_BYTES + self.sessions * _DISK_BYTES_PER_SESSION

    @property
    def memory_bytes(self) -> int:
        """The most that the server and the largest side of a suite take."""
        return _SERVER_MEMORY_BYTES + (self.running + self.pending) * _MEMORY_BYTES_PER_SESSION


SIZES: Final = {
    SizeName.XS: ClusterSize(agents=20, running=40, pending=100, finished=200),
    SizeName.S: ClusterSize(agents=100, running=500, pending=1_000, finished=10_000),
    SizeName.M: ClusterSize(agents=1_000, running=5_000, pending=10_000, finished=100_000),
    SizeName.L: ClusterSize(agents=2_000, running=20_000, pending=50_000, finished=500_000),
    SizeName.XL: ClusterSize(agents=10_000, running=100_000, pending=200_000, finished=2_000_000),
}


def count_sessions(kernels: int) -> int:
    """Count the sessions that have about so many kernels together."""
    return math.ceil(kernels * 5 / KERNELS_PER_FIVE_SESSIONS)
