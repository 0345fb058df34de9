"""Which failures pass by themselves: by SQLSTATE and class, and by what doing the call again means."""

import ssl
from collections.abc import Iterator

import asyncpg
import pytest
import sqlalchemy as sa
from asyncpg.exceptions import _base

from scheduler_repo import errors
from scheduler_repo.database.errors import translate_error
from scheduler_repo.errors import DatabaseUnavailable, OutcomeUnknown, SchedulerRepoError
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.transient import is_transient

READ, IDEMPOTENT, WRITE = OperationKind.READ, OperationKind.IDEMPOTENT_WRITE, OperationKind.WRITE

# The server says that nothing was done.
UNDONE = [
    asyncpg.SerializationError("40001"),
    asyncpg.DeadlockDetectedError("40P01"),
    asyncpg.TooManyConnectionsError("53300"),
    asyncpg.CannotConnectNowError("57P03"),
    asyncpg.ClientCannotConnectError("08001"),
    asyncpg.ConnectionRejectionError("08004"),
    ConnectionRefusedError(111, "Connection refused"),
]
# The connection is gone, and nobody says what became of what was sent last.
LOST = [
    asyncpg.PostgresConnectionError("08000"),
    asyncpg.ConnectionDoesNotExistError("08003"),
    asyncpg.ConnectionFailureError("08006"),
    asyncpg.TransactionResolutionUnknownError("08007"),
    asyncpg.AdminShutdownError("57P01"),
    asyncpg.CrashShutdownError("57P02"),
    asyncpg.IdleSessionTimeoutError("57P05"),
    asyncpg.IdleInTransactionSessionTimeoutError("25P03"),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.InternalClientError("unexpected"),
    ConnectionResetError(104, "Connection reset by peer"),
    BrokenPipeError(32, "Broken pipe"),
    # The socket of a server that restarts.
    FileNotFoundError(2, "No such file or directory"),
]
# Again would be the same again.
LASTING = [
    asyncpg.UniqueViolationError("23505"),
    asyncpg.CheckViolationError("23514"),
    asyncpg.UndefinedTableError("42P01"),
    asyncpg.InsufficientPrivilegeError("42501"),
    asyncpg.InvalidPasswordError("28P01"),
    asyncpg.InvalidCatalogNameError("3D000"),
    asyncpg.ReadOnlySQLTransactionError("25006"),
    asyncpg.NumericValueOutOfRangeError("22003"),
    asyncpg.DiskFullError("53100"),
    asyncpg.OutOfMemoryError("53200"),
    asyncpg.ProtocolViolationError("08P01"),
    # Bounds that were used up: to wait as long again is for the caller to decide.
    asyncpg.QueryCanceledError("57014"),
    asyncpg.LockNotAvailableError("55P03"),
    TimeoutError(),
    sa.exc.TimeoutError("QueuePool limit of size 5 overflow 0 reached"),
    PermissionError(13, "Permission denied"),
    asyncpg.ClientConfigurationError("no host"),
    asyncpg.UnsupportedServerFeatureError("no scram"),
    _base.DataError("invalid input for query argument $1"),
    ssl.SSLCertVerificationError("self-signed certificate"),
    sa.exc.InvalidRequestError("a mistake"),
    ValueError("a mistake"),
]
BUSINESS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, SchedulerRepoError)
    and not issubclass(kind, (errors.DatabaseUnavailable, errors.TransactionConflict))
]


def ours(cause: Exception) -> SchedulerRepoError:
    """The package's error for one of the driver, as a session raises it."""
    error = translate_error(cause) or DatabaseUnavailable("of something else")
    error.__cause__ = cause
    return error


def by_sqlalchemy(cause: Exception) -> sa.exc.DBAPIError:
    """The same error as SQLAlchemy passes it on: twice wrapped."""
    adapted = Exception(str(cause))
    adapted.__cause__ = cause
    return sa.exc.DBAPIError("SELECT 1", None, adapted)


def wrapped(cause: Exception) -> Iterator[SchedulerRepoError]:
    """Both ways by which a driver's error comes to be one of the package's."""
    yield ours(cause)
    yield ours(by_sqlalchemy(cause))


class TestInASession:
    """An error of the package came before COMMIT, or with its rollback: nothing was written."""

    @pytest.mark.parametrize("kind", OperationKind)
    @pytest.mark.parametrize(("causes", "passes"), [([*UNDONE, *LOST], True), (LASTING, False)])
    def test_passes_if_its_cause_does(self, causes: list[Exception], passes: bool, kind: OperationKind) -> None:
        for cause in causes:
            assert [is_transient(error, kind) for error in wrapped(cause)] == [passes, passes], repr(cause)


class TestBare:
    """An error of the driver itself may be from anywhere, from a COMMIT too."""

    @pytest.mark.parametrize("kind", OperationKind)
    @pytest.mark.parametrize(("found", "passes"), [(UNDONE, True), (LASTING, False)])
    def test_nothing_was_done(self, found: list[Exception], passes: bool, kind: OperationKind) -> None:
        for error in found:
            assert is_transient(error, kind) == passes, repr(error)
            assert is_transient(by_sqlalchemy(error), kind) == passes, repr(error)

    def test_lost_write_is_not_written_twice(self) -> None:
        for error in LOST:
            assert is_transient(error, READ), repr(error)
            assert is_transient(error, IDEMPOTENT), repr(error)
            assert not is_transient(error, WRITE), repr(error)
            assert not is_transient(by_sqlalchemy(error), WRITE), repr(error)


class TestErrorsOfThePackage:
    def test_unknown_outcome(self) -> None:
        error = OutcomeUnknown("lost at COMMIT")
        error.__cause__ = ConnectionResetError()
        assert is_transient(error, IDEMPOTENT)
        assert not is_transient(error, WRITE)

    @pytest.mark.parametrize("kind", OperationKind)
    def test_conflict(self, kind: OperationKind) -> None:
        assert is_transient(errors.TransactionConflict("lost a race"), kind)

    @pytest.mark.parametrize("kind", OperationKind)
    def test_others_last_whatever_they_came_from(self, kind: OperationKind) -> None:
        """A SessionNotFound that came of a deadlock stays one."""
        for error_class in BUSINESS:
            error = error_class("no")
            error.__cause__ = asyncpg.DeadlockDetectedError("40P01")
            assert not is_transient(error, kind), error_class

    def test_unavailable_for_a_reason_that_nobody_knows(self) -> None:
        assert not is_transient(DatabaseUnavailable("gone"), READ)

    def test_error_that_was_raised_from_itself(self) -> None:
        error = LookupError()
        error.__cause__ = error
        assert not is_transient(error, READ)
