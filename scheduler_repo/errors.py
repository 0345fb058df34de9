"""Every error the package raises: one root, a stable code each, a message that says what to do."""

import re
from typing import TYPE_CHECKING, ClassVar, Optional, Self

from scheduler_repo.quoting import clean_message

if TYPE_CHECKING:
    from datetime import timedelta

    from scheduler_repo.types import (
        AgentId,
        KernelId,
        LeaseHolder,
        OperationId,
        OwnerScope,
        ResourcePolicyName,
        ScalingGroupName,
        SessionId,
        SlotName,
        VFolderId,
    )


class SchedulerRepoError(Exception):
    """The root of all errors of this package; ``error_code`` is stable across releases.

    The message is one line that any terminal shows as it is, whatever names are in it, and holds no password.
    It ends with the ``advice``, where that was given. The other fields of a class name what the error is about,
    as it was given; one is None where it is not known. ``session_id`` is set wherever one session was refused.
    """

    error_code: ClassVar[str] = "scheduler_repo_error"
    advice: str = ""
    session_id: Optional["SessionId"] = None

    def __init__(self, *arguments: object, **named: object) -> None:
        """``named`` are fields of the class; raises TypeError for a name that it has not."""
        # Whoever prints, logs or pickles the error gets what was cleaned here.
        super().__init__(*(clean_message(each) if isinstance(each, str) else each for each in arguments))
        for name, value in named.items():
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no field {name}")
            setattr(self, name, value)
        if self.advice:
            self._say(str(self), self.advice)

    @classmethod
    def about(cls, message: str, **named: object) -> Self:
        """Build the error with those of ``named`` for which the class has a field."""
        return cls(message, **{name: value for name, value in named.items() if hasattr(cls, name)})

    @property
    def found(self) -> str:
        """The message without the advice."""
        return str(self).removesuffix(f"; {self.advice}") if self.advice else str(self)

    def with_message(self, found: str, advice: str = "") -> Self:
        """Build the same error, with the same fields, in other words; the advice is replaced too."""
        other = type(self)()
        vars(other).update(vars(self))
        other._say(found, advice)
        return other

    def _say(self, found: str, advice: str) -> None:
        self.advice = clean_message(advice)
        self.args = (clean_message(f"{found}; {advice}" if advice else found),)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "error_code" not in vars(cls):
            # The class name in words; a test keeps the table of all codes, so that none changes unseen.
            cls.error_code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


class BusinessError(SchedulerRepoError):
    """The request cannot be carried out as things are; the same call fails again until they change."""

    # The constraint of the database that refused it, if one did.
    constraint: Optional[str] = None


# -- what the caller gave ----------------------------------------------------------------------


class InvalidInput(BusinessError):
    """An argument cannot be accepted; nothing was written."""


class InvalidQuantity(InvalidInput):
    """An amount is negative, not whole in its slot's smallest unit, not a number, or above 63 bits."""


class UnknownSlotType(InvalidInput):
    """An amount names a slot that the cluster does not have."""

    slot_names: tuple["SlotName", ...] = ()


class InvalidLimit(InvalidInput):
    """A limit on the number of answers is no whole number, or out of its range."""


class InvalidCursor(InvalidInput):
    """A cursor is not one of this package, was changed, or is of another question than it is given to."""


class InvalidToken(InvalidInput):
    """A text is no snapshot token of this version, or was changed."""


class InvalidFilter(InvalidInput):
    """A search names a field, order or status that does not exist, or a value that its field cannot have."""


class InvalidTrace(InvalidInput):
    """A trace file cannot be read as a cluster; the message names file and line."""


class InvalidSnapshot(InvalidInput):
    """A snapshot file cannot be read: it is of another format, damaged, too large or no snapshot at all."""


class InvalidWiring(InvalidInput):
    """A part was given where another is needed, such as an engine for a source, or a class for an object."""


class InvalidSettings(InvalidInput):
    """A setting (option or environment variable) is missing or malformed."""


# -- what the database holds ---------------------------------------------------------------------


class NotFound(BusinessError):
    """Nothing has the id or name that was asked for."""


class ScalingGroupNotFound(NotFound):
    """No scaling group has this name."""

    scaling_group: Optional["ScalingGroupName"] = None


class SessionNotFound(NotFound):
    """No session has this id, or none where it was looked for."""


class AgentNotFound(NotFound):
    """No agent has this id."""

    agent_id: Optional["AgentId"] = None


class KernelNotFound(NotFound):
    """No kernel has this id."""

    kernel_id: Optional["KernelId"] = None


class VFolderNotFound(NotFound):
    """No vfolder has this id."""

    vfolder_id: Optional["VFolderId"] = None


class ResourcePolicyNotFound(NotFound):
    """No resource policy has this name."""

    resource_policy: Optional["ResourcePolicyName"] = None


class QuotaNotFound(NotFound):
    """The owner has no quota of its own: it is not limited."""

    scope: Optional["OwnerScope"] = None
    owner_id: Optional[str] = None


class AlreadyExists(BusinessError):
    """Something of this id or name exists already."""


class ScalingGroupAlreadyExists(AlreadyExists):
    """A scaling group of this name exists already."""

    scaling_group: Optional["ScalingGroupName"] = None


class AgentAlreadyExists(AlreadyExists):
    """An agent of this id exists already."""

    agent_id: Optional["AgentId"] = None


class SessionAlreadyExists(AlreadyExists):
    """A session or kernel of this id exists already."""

    kernel_id: Optional["KernelId"] = None


class VFolderAlreadyExists(AlreadyExists):
    """A vfolder of this id exists already."""

    vfolder_id: Optional["VFolderId"] = None


class OwnerAlreadyExists(AlreadyExists):
    """A keypair, user or project of this id exists already, of another user, name or domain."""

    scope: Optional["OwnerScope"] = None
    owner_id: Optional[str] = None


class OwnerNotFound(NotFound):
    """No keypair, user, project or domain has this id or name."""

    scope: Optional["OwnerScope"] = None
    owner_id: Optional[str] = None


class InvalidTransition(BusinessError):
    """The table of transitions does not allow the change from the status found; nothing was written."""

    kernel_id: Optional["KernelId"] = None


class AllocationRefused(BusinessError):
    """A session cannot be placed there, or not now; nothing was written."""

    agent_id: Optional["AgentId"] = None


class QuotaExceeded(BusinessError):
    """The owner would use more than its quota allows; nothing was written."""

    scope: Optional["OwnerScope"] = None
    owner_id: Optional[str] = None


class ConstraintViolated(BusinessError):
    """The database refused a row that breaks one of its constraints; the message names it."""


class LeaseHeld(BusinessError):
    """Another holder's lease on the scaling group has not expired yet; it has ``held_for``, unless renewed."""

    scaling_group: Optional["ScalingGroupName"] = None
    holder: Optional["LeaseHolder"] = None
    epoch: Optional[int] = None
    held_for: Optional["timedelta"] = None


class StaleLeaseError(BusinessError):
    """The lease has expired, was released or was taken over; nothing was written.

    ``present_holder`` and ``present_epoch`` are of the lease that holds now, None if none does.
    """

    error_code = "stale_lease"
    scaling_group: Optional["ScalingGroupName"] = None
    holder: Optional["LeaseHolder"] = None
    epoch: Optional[int] = None
    present_holder: Optional["LeaseHolder"] = None
    present_epoch: Optional[int] = None


class OperationMismatch(BusinessError):
    """The operation id was used before, for another write; nothing was written."""

    operation_id: Optional["OperationId"] = None


class EngineClosed(SchedulerRepoError):
    """The engine was disposed of, or the ``open_repositories`` block that it belongs to has ended."""


class WrongEventLoop(SchedulerRepoError):
    """The engine is used in another event loop, or thread, than the one it was first used in."""


class MissingDependency(SchedulerRepoError, ImportError):
    """A package is needed that is not installed; the message says how to install it."""


# -- the servers ---------------------------------------------------------------------------------


class PlannerFailed(SchedulerRepoError):
    """A planner did not return in time, or placed what the data that it was given does not have."""

    scaling_group: Optional["ScalingGroupName"] = None


class DispatcherFailed(SchedulerRepoError):
    """A dispatcher did not return in time, told some only, or returned what is no answer."""


class DatabaseError(SchedulerRepoError):
    """The database refused or failed a statement in a way that the caller cannot mend by its input.

    ``of_old_connection`` says that it may be of that connection alone, which was made before the call: its
    address may lead to another server by now, and a new connection plans anew. Such a call is tried again.
    """

    of_old_connection: bool = False


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, or the connection to it was lost."""


class OutcomeUnknown(DatabaseUnavailable):
    """The connection was lost at COMMIT and the server could not be asked again: written wholly, or not at all.

    Ask again under the same operation id, when the server answers.
    """

    operation_id: Optional["OperationId"] = None


class DatabaseTimeout(DatabaseError):
    """A statement, a lock or a pool checkout took longer than its bound."""


class LockNotAvailable(DatabaseTimeout):
    """A row stayed locked by another transaction for longer than the bound; nothing was written.

    ``table`` and ``row_id`` (its key as text) name it where they are known, ``pids`` the server processes that
    hold it.
    """

    table: Optional[str] = None
    row_id: Optional[str] = None
    pids: tuple[int, ...] = ()


class DeadlineExceeded(DatabaseTimeout):
    """A call took longer than its deadline, retries included; of a write, all was written or nothing."""

    operation_id: Optional["OperationId"] = None


class DatabaseReadOnly(DatabaseError):
    """A write was sent to a database, or inside a transaction, that only reads."""


class WriteNotSeen(DatabaseError):
    """The server that was read does not have the write that an answer must include, as a standby behind."""


class TransactionConflict(DatabaseError):
    """A deadlock or a serialisation failure: the transaction did nothing and may be tried again."""


class SchemaChanged(TransactionConflict):
    """The schema was changed under a prepared statement: nothing was done, and a new connection plans anew."""


class DatabaseExhausted(DatabaseError):
    """The server has run out of something, until somebody sees to it; nothing was written."""


class DiskFull(DatabaseExhausted):
    """The server's disk is full."""


class OutOfMemory(DatabaseExhausted):
    """The server is out of memory, or of shared memory for locks."""


class TooManyConnections(DatabaseUnavailable, DatabaseExhausted):
    """The server, the database or the role has no connection left."""


class ConfigurationLimitReached(DatabaseExhausted):
    """A limit of the server's configuration is reached, such as that on temporary files."""


class PermissionDenied(DatabaseError):
    """The role lacks a privilege for the statement."""


class SchemaMismatch(DatabaseError):
    """The database's schema is missing, older or newer than this package needs."""


class UnsupportedEncoding(DatabaseError):
    """The database has another encoding than UTF8, in which not every text can be stored."""


class UnknownWord(DatabaseError):
    """The database holds a status, type or mode that this version does not know."""


class PoolerInTheWay(DatabaseError):
    """A connection pooler stands before the server and the settings do not say so; nothing was written."""


class CacheUnavailable(SchedulerRepoError):
    """Redis or Valkey cannot be reached; reads are answered by the database instead."""


class BreakerOpen(CacheUnavailable):
    """Redis or Valkey failed a moment ago and is not asked until it answers a probe."""


class CacheBusy(CacheUnavailable):
    """All connections to Redis or Valkey were taken for as long as a command may take."""


class CacheRefused(CacheUnavailable):
    """Redis or Valkey answered a command with an error, as one that is out of memory or only reads does."""


class CacheMisused(CacheUnavailable):
    """The client of Redis or Valkey was closed, or belongs to another event loop; the server is not asked."""


# -- the embedded servers ------------------------------------------------------------------------


class EmbeddedServerError(SchedulerRepoError):
    """An embedded server cannot be found, started, used or stopped."""
