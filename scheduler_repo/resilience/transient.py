"""Which failures of a database pass by themselves: an allowlist by SQLSTATE and by class, never by text."""

import socket
import ssl
from collections.abc import Iterator
from typing import Final, Optional

import asyncpg

from scheduler_repo.errors import (
    DatabaseError,
    DatabaseUnavailable,
    OutcomeUnknown,
    SchedulerRepoError,
    TransactionConflict,
)
from scheduler_repo.resilience.operation import OperationKind

# The server says that the transaction did nothing, or did not begin: 40001 a serialisation failure, 40P01 a
# deadlock, 53300 too many connections, 57P03 it is starting, 08001 and 08004 no connection was made.
_UNDONE: Final = frozenset({"40001", "40P01", "53300", "57P03", "08001", "08004"})
# The connection was lost (08P01, a violation of the protocol, does not pass), the server was stopped (57P01,
# 57P02), or it ended an idle session or transaction (57P05, 25P03).
_LOST: Final = frozenset({"08000", "08003", "08006", "08007", "57P01", "57P02", "57P05", "25P03"})
_LOST_CLASSES: Final = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# A bound that was used up already, and what wrong settings look like. A server that restarts looks like a wrong
# address for a moment, and is asked again: its port refuses, its socket's file is not there.
_LASTING_CLASSES: Final = (
    TimeoutError,
    PermissionError,
    ssl.SSLCertVerificationError,
    ValueError,  # of the driver's: a setting or a value that it cannot use
    asyncpg.UnsupportedClientFeatureError,
    asyncpg.UnsupportedServerFeatureError,
)
_SOCKET_CLASSES: Final = (ConnectionError, ssl.SSLError, socket.gaierror)
_LONGEST_CHAIN: Final = 16


def is_transient(error: BaseException, kind: OperationKind) -> bool:
    """Return whether a call of this kind that failed with ``error`` may be repeated.

    An error of this package other than OutcomeUnknown came before COMMIT, or with its rollback: nothing was
    written. A bare error of the driver may come from anywhere, and a bare OSError from a file, which does not
    pass. SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    if isinstance(error, OutcomeUnknown):
        return kind is not OperationKind.WRITE
    if isinstance(error, TransactionConflict) or (isinstance(error, DatabaseError) and error.of_old_connection):
        return True
    ours = isinstance(error, DatabaseUnavailable)
    if isinstance(error, SchedulerRepoError) and not ours:
        return False
    causes = tuple(walk_causes(error))
    states = {cause.sqlstate for cause in causes if isinstance(cause, asyncpg.PostgresError)}
    if states & _UNDONE or any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return True
    if not ours and kind is OperationKind.WRITE:
        return False
    if states:
        return bool(states & _LOST)
    return any(_is_lost(cause, ours=ours) for cause in causes)


def _is_lost(cause: BaseException, *, ours: bool) -> bool:
    if isinstance(cause, _LASTING_CLASSES) or not isinstance(cause, _LOST_CLASSES):
        return False
    # An error that the engine has translated is the database's. Else it may be of a file, which it names.
    is_of_file = isinstance(cause, OSError) and not isinstance(cause, _SOCKET_CLASSES)
    return ours or not is_of_file or (isinstance(cause, FileNotFoundError) and cause.filename is None)


def walk_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from; SQLAlchemy keeps the driver's error in ``orig``."""
    cause: Optional[BaseException] = error
    for _ in range(_LONGEST_CHAIN):  # an error that was raised from itself has no end
        if cause is None:
            return
        yield cause
        original = getattr(cause, "orig", None)
        cause = original if isinstance(original, BaseException) else cause.__cause__
