"""The codes of the errors: what users' programs compare is the same in every release."""

import importlib
import pkgutil
from collections.abc import Iterator

import scheduler_repo
from scheduler_repo.errors import SchedulerRepoError

# A code that changes breaks users; one that is new is added here.
CODES = {
    "AgentAlreadyExists": "agent_already_exists",
    "AgentNotFound": "agent_not_found",
    "AllocationRefused": "allocation_refused",
    "AlreadyExists": "already_exists",
    "BreakerOpen": "breaker_open",
    "BusinessError": "business_error",
    "CacheBusy": "cache_busy",
    "CacheMisused": "cache_misused",
    "CacheRefused": "cache_refused",
    "CacheUnavailable": "cache_unavailable",
    "ConfigurationLimitReached": "configuration_limit_reached",
    "ConstraintViolated": "constraint_violated",
    "DatabaseError": "database_error",
    "DatabaseExhausted": "database_exhausted",
    "DatabaseReadOnly": "database_read_only",
    "DatabaseTimeout": "database_timeout",
    "DatabaseUnavailable": "database_unavailable",
    "DeadlineExceeded": "deadline_exceeded",
    "DiskFull": "disk_full",
    "DispatcherFailed": "dispatcher_failed",
    "EmbeddedServerError": "embedded_server_error",
    "EngineClosed": "engine_closed",
    "InvalidCursor": "invalid_cursor",
    "InvalidFilter": "invalid_filter",
    "InvalidInput": "invalid_input",
    "InvalidLimit": "invalid_limit",
    "InvalidQuantity": "invalid_quantity",
    "InvalidSettings": "invalid_settings",
    "InvalidSnapshot": "invalid_snapshot",
    "InvalidToken": "invalid_token",
    "InvalidTrace": "invalid_trace",
    "InvalidTransition": "invalid_transition",
    "InvalidWiring": "invalid_wiring",
    "KernelNotFound": "kernel_not_found",
    "LeaseHeld": "lease_held",
    "LockNotAvailable": "lock_not_available",
    "MissingDependency": "missing_dependency",
    "NotFound": "not_found",
    "OperationMismatch": "operation_mismatch",
    "OutOfMemory": "out_of_memory",
    "OutcomeUnknown": "outcome_unknown",
    "OwnerAlreadyExists": "owner_already_exists",
    "OwnerNotFound": "owner_not_found",
    "PermissionDenied": "permission_denied",
    "PlannerFailed": "planner_failed",
    "PoolerInTheWay": "pooler_in_the_way",
    "QuotaExceeded": "quota_exceeded",
    "QuotaNotFound": "quota_not_found",
    "ResourcePolicyNotFound": "resource_policy_not_found",
    "ScalingGroupAlreadyExists": "scaling_group_already_exists",
    "ScalingGroupNotFound": "scaling_group_not_found",
    "SchedulerRepoError": "scheduler_repo_error",
    "SchemaChanged": "schema_changed",
    "SchemaMismatch": "schema_mismatch",
    "SessionAlreadyExists": "session_already_exists",
    "SessionNotFound": "session_not_found",
    "StaleLeaseError": "stale_lease",
    "TooManyConnections": "too_many_connections",
    "TransactionConflict": "transaction_conflict",
    "UnknownSlotType": "unknown_slot_type",
    "UnknownWord": "unknown_word",
    "WriteNotSeen": "write_not_seen",
    "UnsupportedEncoding": "unsupported_encoding",
    "VFolderAlreadyExists": "vfolder_already_exists",
    "VFolderNotFound": "vfolder_not_found",
    "WrongEventLoop": "wrong_event_loop",
}


def every_error(root: type[SchedulerRepoError] = SchedulerRepoError) -> Iterator[type[SchedulerRepoError]]:
    yield root
    for derived in root.__subclasses__():
        yield from every_error(derived)


class TestErrorCodes:
    def test_are_those_of_the_table(self) -> None:
        for module in pkgutil.walk_packages(scheduler_repo.__path__, "scheduler_repo."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        ours = {error for error in every_error() if error.__module__.startswith("scheduler_repo.")}
        assert {error.__name__: error.error_code for error in ours} == CODES

    def test_are_each_of_one_class(self) -> None:
        assert len(set(CODES.values())) == len(CODES)
