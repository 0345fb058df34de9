"""Every error the package raises: one root, a stable code each, a message that says what to do."""

from typing import ClassVar


class SchedulerRepoError(Exception):
    """The root of all errors of this package; ``error_code`` is stable across releases."""

    error_code: ClassVar[str] = "scheduler_repo_error"


# -- what the caller gave ----------------------------------------------------------------------


class InvalidInput(SchedulerRepoError):
    """An argument cannot be accepted; nothing was written."""

    error_code = "invalid_input"


class InvalidQuantity(InvalidInput):
    """An amount is negative, not whole in its slot's smallest unit, not a number, or above 63 bits."""

    error_code = "invalid_quantity"


class UnknownSlotType(InvalidInput):
    """An amount names a slot that the cluster does not have."""

    error_code = "unknown_slot_type"


class InvalidLimit(InvalidInput):
    """A limit on the number of answers is no whole number, or out of its range."""

    error_code = "invalid_limit"


class InvalidCursor(InvalidInput):
    """A cursor is not one of this package, was changed, or is of another question than it is given to."""

    error_code = "invalid_cursor"


class InvalidFilter(InvalidInput):
    """A search names a field, order or status that does not exist, or a value that its field cannot have."""

    error_code = "invalid_filter"


class InvalidTrace(InvalidInput):
    """A trace file cannot be read as a cluster; the message names file and line."""

    error_code = "invalid_trace"


class InvalidWiring(InvalidInput):
    """A part was given where another is needed, such as an engine for a source, or a class for an object."""

    error_code = "invalid_wiring"


class InvalidSettings(InvalidInput):
    """A setting (option or environment variable) is missing or malformed."""

    error_code = "invalid_settings"


# -- what the database holds ---------------------------------------------------------------------


class NotFound(SchedulerRepoError):
    """What was asked for by its id does not exist."""

    error_code = "not_found"


class ScalingGroupNotFound(NotFound):
    """No scaling group has this name."""

    error_code = "scaling_group_not_found"


class SessionNotFound(NotFound):
    """No session has this id, or none where it was looked for."""

    error_code = "session_not_found"


class AgentNotFound(NotFound):
    """No agent has this id."""

    error_code = "agent_not_found"


class KernelNotFound(NotFound):
    """No kernel has this id."""

    error_code = "kernel_not_found"


class VFolderNotFound(NotFound):
    """No vfolder has this id."""

    error_code = "vfolder_not_found"


class ResourcePolicyNotFound(NotFound):
    """No resource policy has this name."""

    error_code = "resource_policy_not_found"


class QuotaNotFound(NotFound):
    """The owner has no quota of its own: it is not limited."""

    error_code = "quota_not_found"


class AlreadyExists(SchedulerRepoError):
    """What was to be created exists already."""

    error_code = "already_exists"


class ScalingGroupAlreadyExists(AlreadyExists):
    """A scaling group of this name exists already."""

    error_code = "scaling_group_already_exists"


class AgentAlreadyExists(AlreadyExists):
    """An agent of this id exists already."""

    error_code = "agent_already_exists"


class SessionAlreadyExists(AlreadyExists):
    """A session or kernel of this id exists already."""

    error_code = "session_already_exists"


class VFolderAlreadyExists(AlreadyExists):
    """A vfolder of this id exists already."""

    error_code = "vfolder_already_exists"


class OwnerAlreadyExists(AlreadyExists):
    """A keypair, user or project of this id exists already, of another user, name or domain."""

    error_code = "owner_already_exists"


class OwnerNotFound(NotFound):
    """No keypair, user, project or domain has this id or name."""

    error_code = "owner_not_found"


class InvalidTransition(SchedulerRepoError):
    """The table of transitions does not allow the change from the status found; nothing was written."""

    error_code = "invalid_transition"


class AllocationRefused(SchedulerRepoError):
    """A session cannot be placed there, or not now; nothing was written."""

    error_code = "allocation_refused"


class QuotaExceeded(SchedulerRepoError):
    """The owner would use more than its quota allows; nothing was written."""

    error_code = "quota_exceeded"


class ConstraintViolated(SchedulerRepoError):
    """The database refused a row that breaks one of its constraints; the message names it."""

    error_code = "constraint_violated"


class LeaseHeld(SchedulerRepoError):
    """Another holder's lease on the scaling group has not expired yet."""

    error_code = "lease_held"


class StaleLeaseError(SchedulerRepoError):
    """The lease has expired, was released or was taken over; nothing was written."""

    error_code = "stale_lease"


class OperationMismatch(SchedulerRepoError):
    """The operation id was used before, for another write; nothing was written."""

    error_code = "operation_mismatch"


class EngineClosed(SchedulerRepoError):
    """The engine was disposed of, or the ``open_repositories`` block that it belongs to has ended."""

    error_code = "engine_closed"


class WrongEventLoop(SchedulerRepoError):
    """The engine is used in another event loop, or thread, than the one it was first used in."""

    error_code = "wrong_event_loop"


class MissingDependency(SchedulerRepoError, ImportError):
    """A package is needed that is not installed; the message says how to install it."""

    error_code = "missing_dependency"


# -- the servers ---------------------------------------------------------------------------------


class DatabaseError(SchedulerRepoError):
    """The database refused or failed a statement in a way that the caller cannot mend by its input."""

    error_code = "database_error"


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, or the connection to it was lost."""

    error_code = "database_unavailable"


class OutcomeUnknown(DatabaseUnavailable):
    """The connection was lost at COMMIT and the server could not be asked again: written wholly, or not at all.

    Ask again under the same operation id, when the server answers.
    """

    error_code = "outcome_unknown"


class DatabaseTimeout(DatabaseError):
    """A statement, a lock or a pool checkout took longer than its bound."""

    error_code = "database_timeout"


class DeadlineExceeded(DatabaseTimeout):
    """A call took longer than its deadline, retries included; of a write, all was written or nothing."""

    error_code = "deadline_exceeded"


class DatabaseReadOnly(DatabaseError):
    """A write was sent to a database, or inside a transaction, that only reads."""

    error_code = "database_read_only"


class TransactionConflict(DatabaseError):
    """A deadlock or a serialisation failure: the transaction did nothing and may be tried again."""

    error_code = "transaction_conflict"


class PermissionDenied(DatabaseError):
    """The role lacks a privilege for the statement."""

    error_code = "permission_denied"


class SchemaMismatch(DatabaseError):
    """The database's schema is missing, older or newer than this package needs."""

    error_code = "schema_mismatch"


class UnknownWord(DatabaseError):
    """The database holds a status, type or mode that this version does not know."""

    error_code = "unknown_word"


class PoolerInTheWay(DatabaseError):
    """A connection pooler stands before the server and the settings do not say so; nothing was written."""

    error_code = "pooler_in_the_way"


class CacheUnavailable(SchedulerRepoError):
    """Redis or Valkey cannot be reached; reads are answered by the database instead."""

    error_code = "cache_unavailable"


class BreakerOpen(CacheUnavailable):
    """Redis or Valkey failed a moment ago and is not asked until it answers a probe."""

    error_code = "breaker_open"


class CacheBusy(CacheUnavailable):
    """All connections to Redis or Valkey were taken for as long as a command may take."""

    error_code = "cache_busy"


class CacheRefused(CacheUnavailable):
    """Redis or Valkey answered a command with an error, as one that is out of memory or only reads does."""

    error_code = "cache_refused"


class CacheMisused(CacheUnavailable):
    """The client of Redis or Valkey was closed, or belongs to another event loop; the server is not asked."""

    error_code = "cache_misused"
