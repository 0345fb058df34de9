"""Translates driver and SQLAlchemy errors to the package's own, by SQLSTATE and class, never by text."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Optional
from uuid import UUID

import asyncpg
import sqlalchemy as sa

from scheduler_repo import errors
from scheduler_repo.errors import SchedulerRepoError
from scheduler_repo.types import OwnerScope

# A detail repeats the values given, whole.
_LONGEST_DETAIL = 300
_POOLED_STATEMENT = (
    "a prepared statement went to another server connection; a pooler in transaction mode stands between, set "
    "SCHEDULER_REPO_POOLER (DatabaseSettings.pooler) to 'transaction'"
)
# The packages whose classes of errors are the database's; OSError and TimeoutError are anybody's.
_PACKAGES: Final = ("asyncpg", "sqlalchemy")
# What the driver itself calls; code of any other package that it calls is the user's.
_BELOW_THE_DRIVER: Final = ("asyncio", "ssl", "socket", "uvloop", "sqlalchemy")
_SHORT_OF_DISK = "the server's disk is full; make room on it: nothing can be written until then, reads go on"
_SHORT_OF_MEMORY = (
    "the server is out of memory, or of shared memory for locks; allow fewer connections or less work_mem, or "
    "raise max_locks_per_transaction"
)
_SHORT_OF_CONNECTIONS = (
    "the server, the database or the role has no connection left; make the pools smaller, or raise "
    "max_connections or the CONNECTION LIMIT"
)
_SHORT_OF_ALLOWANCE = "a limit of the server's configuration, such as temp_file_limit, is reached; raise it"
# By SQLSTATE, the longest prefix first; behind the semicolon is the advice: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_SQLSTATE: tuple[tuple[str, type[SchedulerRepoError], str], ...] = (
    ("25006", errors.DatabaseReadOnly, "the database, or this transaction, only reads; write to the primary"),
    ("40001", errors.TransactionConflict, "the transaction lost a race and did nothing; try again"),
    ("40P01", errors.TransactionConflict, "the transaction was ended to break a deadlock; try again"),
    ("42501", errors.PermissionDenied, "the role lacks the privilege; see sql/grants.sql"),
    ("42P01", errors.SchemaMismatch, "a table is missing; run: scheduler-repo db upgrade"),
    ("42703", errors.SchemaMismatch, "a column is missing; run: scheduler-repo db upgrade"),
    ("42704", errors.SchemaMismatch, "an object is missing; run: scheduler-repo db upgrade"),
    ("42883", errors.SchemaMismatch, "a function is missing; run: scheduler-repo db upgrade"),
    ("3F000", errors.SchemaMismatch, "the schema is missing; correct the search_path"),
    ("55P03", errors.DatabaseTimeout, "timed out waiting for a lock; another transaction holds it"),
    ("57014", errors.DatabaseTimeout, "the statement was cancelled; it took longer than its bound"),
    ("25P03", errors.DatabaseUnavailable, "the transaction was idle for too long and was ended"),
    ("28", errors.DatabaseUnavailable, "the server refused the login; check role, password and pg_hba.conf"),
    ("3D000", errors.DatabaseUnavailable, "there is no such database; create it or correct the URL"),
    ("54000", errors.InvalidInput, "a value is too long to be stored; shorten it"),
    ("53100", errors.DiskFull, _SHORT_OF_DISK),
    ("53200", errors.OutOfMemory, _SHORT_OF_MEMORY),
    ("53300", errors.TooManyConnections, _SHORT_OF_CONNECTIONS),
    ("53400", errors.ConfigurationLimitReached, _SHORT_OF_ALLOWANCE),
    ("53", errors.DatabaseExhausted, "the server has run out of something; see its log"),
    ("26000", errors.PoolerInTheWay, _POOLED_STATEMENT),
    ("42P05", errors.PoolerInTheWay, _POOLED_STATEMENT),
    ("57P", errors.DatabaseUnavailable, "the server is starting or stopping; try again"),
    ("08", errors.DatabaseUnavailable, "the connection to the server failed"),
    ("22003", errors.DatabaseError, "an amount, or a sum of amounts, is above 63 bits"),
    ("22", errors.InvalidInput, "the database cannot store a value as it was given"),
    ("23", errors.ConstraintViolated, "the database refused the row"),
)

# By constraint: what the caller named that is there already, or is not there, and the field that holds it.
_BY_CONSTRAINT: dict[str, tuple[type[SchedulerRepoError], str, str]] = {
    "scaling_groups_pkey": (
        errors.ScalingGroupAlreadyExists,
        "a scaling group of this name exists already",
        "scaling_group",
    ),
    "agents_pkey": (errors.AgentAlreadyExists, "an agent of this id exists already", "agent_id"),
    "agents_scaling_group_fkey": (
        errors.ScalingGroupNotFound,
        "the agent's scaling group does not exist",
        "scaling_group",
    ),
    "users_domain_name_name_key": (errors.AlreadyExists, "another user of the domain has this name", ""),
    "projects_domain_name_name_key": (errors.AlreadyExists, "another project of the domain has this name", ""),
    "users_domain_name_fkey": (errors.OwnerNotFound, "the user's domain does not exist", "DOMAIN"),
    "projects_domain_name_fkey": (errors.OwnerNotFound, "the project's domain does not exist", "DOMAIN"),
    "keypairs_user_id_fkey": (errors.OwnerNotFound, "the keypair's user does not exist", "USER"),
    "sessions_pkey": (errors.SessionAlreadyExists, "a session of this id exists already", "session_id"),
    "kernels_pkey": (errors.SessionAlreadyExists, "a kernel of this id exists already", "kernel_id"),
    "sessions_scaling_group_fkey": (
        errors.ScalingGroupNotFound,
        "the session's scaling group does not exist",
        "scaling_group",
    ),
    "sessions_access_key_user_id_fkey": (
        errors.OwnerNotFound,
        "the session's user has no such access key",
        "ACCESS_KEY",
    ),
    "sessions_project_id_domain_name_fkey": (
        errors.OwnerNotFound,
        "the session's domain has no such project",
        "PROJECT",
    ),
    "session_vfolder_mounts_vfolder_id_fkey": (
        errors.VFolderNotFound,
        "a vfolder to mount does not exist",
        "vfolder_id",
    ),
    "vfolders_pkey": (errors.VFolderAlreadyExists, "a vfolder of this id exists already", "vfolder_id"),
    "vfolders_user_id_fkey": (errors.OwnerNotFound, "the vfolder's user does not exist", "USER"),
    "vfolders_project_id_fkey": (errors.OwnerNotFound, "the vfolder's project does not exist", "PROJECT"),
    "scheduler_leases_scaling_group_fkey": (
        errors.ScalingGroupNotFound,
        "the scaling group does not exist",
        "scaling_group",
    ),
}
# How the server writes a key in any language: (columns)=(values).
_UUID_FIELDS: Final = ("session_id", "kernel_id", "vfolder_id")
_KEY: Final = re.compile(r"\([^()]*\)=\((.*)\)", re.DOTALL)


def find_driver_error(error: BaseException) -> BaseException:
    """Return the driver's own error where SQLAlchemy has wrapped one, else ``error``."""
    if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


@contextmanager
def translated_errors(driver: "Optional[asyncpg.Connection[asyncpg.Record]]" = None) -> Iterator[None]:
    """Raise the package's error for one of the driver or SQLAlchemy, ``from`` it; let others through.

    Where the block runs others' code too, give its ``driver``: what did not come by way of it is let through.
    """
    try:
        yield
    except Exception as error:
        known = None if driver is not None and not came_from_database(error, driver) else translate_error(error)
        if known is None:
            raise
        raise known from error


def came_from_database(error: BaseException, driver: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Whether an error of a block in which ``driver`` is used was raised by it, or by SQLAlchemy.

    Else it is of the code around it, which may open files, ask agents, and use other databases. Where the class
    does not tell, the frames that the error has passed do.
    """
    found = find_driver_error(error)
    if isinstance(found, sa.exc.TimeoutError):
        return False  # of another engine's pool: this one has given its connection
    is_of_driver, passed_a_driver = False, False
    traceback = found.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package == "asyncpg":
            passed_a_driver = True
            caller: object = frame.f_locals.get("self")
            # A statement or a cursor has its connection; frames of compiled code have no names.
            connection = getattr(caller, "_connection", caller)
            is_of_driver = connection is driver or (
                is_of_driver and not isinstance(connection, asyncpg.Connection)
            )
        elif package not in _BELOW_THE_DRIVER:
            is_of_driver = False
        traceback = traceback.tb_next
    if getattr(found, "filename", None) is not None:
        return False  # of a file, such as one to COPY from
    return is_of_driver or (not passed_a_driver and type(found).__module__.partition(".")[0] in _PACKAGES)


def translate_error(error: BaseException) -> Optional[SchedulerRepoError]:
    """Return the package's error for one of the driver or SQLAlchemy, or None if it is neither.

    The message carries the server's own words and the constraint that it names; never a connection string.
    """
    wrapped = find_driver_error(error)
    if wrapped is not error:
        return translate_error(wrapped) or errors.DatabaseError(_first_line(wrapped))
    if isinstance(error, (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)):
        return errors.SchemaChanged(
            f"{_first_line(error)}; it was prepared before the schema changed, nothing was written: try again"
        )
    if isinstance(error, asyncpg.PostgresError):
        return _translate_server_error(error)
    if isinstance(error, sa.exc.TimeoutError):
        return errors.DatabaseTimeout(
            "no connection of the pool became free in time", advice="enlarge the pool"
        )
    if isinstance(error, TimeoutError):
        return errors.DatabaseTimeout("the database did not answer in time")
    if isinstance(error, asyncpg.ClientConfigurationError):
        return errors.InvalidSettings(f"the database URL cannot be used: {error}")
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return errors.InvalidInput(f"a value cannot be sent as its column's type: {_first_line(error)}")
    if isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        return errors.DatabaseUnavailable(f"the connection to the database failed: {_first_line(error)}")
    if isinstance(error, OverflowError):
        return errors.DatabaseError(f"a row holds a value that Python cannot represent: {_first_line(error)}")
    if isinstance(error, sa.exc.SQLAlchemyError):
        return errors.DatabaseError(_first_line(error))
    return None


# At COMMIT: the server says that it has rolled back. All else may come after the commit stands.
_ROLLED_BACK = ("22", "23", "25", "40", "42", "53", "54", "55", "P0")
_COMPLETION_UNKNOWN = "40003"


def outcome_is_known(error: Exception) -> bool:
    """Whether an error of a COMMIT says that the transaction was rolled back, not that the answer was lost."""
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        return sqlstate.startswith(_ROLLED_BACK) and sqlstate != _COMPLETION_UNKNOWN
    return isinstance(error, SchedulerRepoError)


def _translate_server_error(error: asyncpg.PostgresError) -> SchedulerRepoError:
    sqlstate = error.sqlstate or ""
    constraint = getattr(error, "constraint_name", None)
    if constraint in _BY_CONSTRAINT:
        kind, words, field = _BY_CONSTRAINT[constraint]
        detail = getattr(error, "detail", None) or constraint
        message = f"{words}: {detail.rstrip('.')[:_LONGEST_DETAIL]}; nothing was written"
        return kind(message, constraint=constraint, **_name_key(detail, field))
    for prefix, kind, words in _BY_SQLSTATE:
        if sqlstate.startswith(prefix):
            named = f", constraint {constraint}" if constraint else ""
            what, _, advice = words.partition("; ")
            found = f"{_first_line(error)} (SQLSTATE {sqlstate}{named}): {what}"
            return kind.about(found, constraint=constraint, advice=advice)
    # Such as what this package's own functions refuse: the hint says what to do.
    hint = getattr(error, "hint", None) or ""
    return errors.DatabaseError(f"{_first_line(error)} (SQLSTATE {sqlstate or 'unknown'})", advice=hint)


def _name_key(detail: str, field: str) -> dict[str, object]:
    """Return the error's fields for a key that the server names; none where it does not."""
    found = _KEY.search(detail)
    if found is None or not field:
        return {}
    values = found.group(1)
    if field not in OwnerScope.__members__:
        return {field: UUID(values) if field in _UUID_FIELDS else values}
    scope = OwnerScope[field]
    # Of a session's two columns the owner's is the first; the second of a keypair, a user, has no comma.
    first, comma, _ = values.rpartition(", ") if scope is OwnerScope.ACCESS_KEY else values.partition(", ")
    return {"scope": scope, "owner_id": first if comma else values}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
