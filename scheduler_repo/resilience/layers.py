"""The resilience of each layer of this package: metrics, one deadline, and retries around the transaction."""

import enum

from scheduler_repo.resilience.policies.metrics import DomainType, MetricArgs, MetricPolicy
from scheduler_repo.resilience.policies.retry import RetryArgs, RetryPolicy
from scheduler_repo.resilience.policies.timeout import DEFAULT_DEADLINE, TimeoutArgs, TimeoutPolicy
from scheduler_repo.resilience.resilience import Policy, Resilience
from scheduler_repo.resilience.transient import is_transient

# Loading or purging a whole cluster.
BULK_DEADLINE = 3600.0


class LayerType(enum.StrEnum):
    """The layers of this package, as the metrics name them.

    A call passes its repository's layer, and below it a source's where a cache chooses between two: what is to
    count each call once is summed over layers that end in ``_repository``.
    """

    AGENT_REPOSITORY = "agent_repository"
    AUDIT_REPOSITORY = "audit_repository"
    CLUSTER_REPOSITORY = "cluster_repository"
    HISTORY_REPOSITORY = "history_repository"
    KERNEL_REPOSITORY = "kernel_repository"
    LEASE_REPOSITORY = "lease_repository"
    LIFECYCLE_REPOSITORY = "lifecycle_repository"
    OWNER_REPOSITORY = "owner_repository"
    QUOTA_REPOSITORY = "quota_repository"
    RESERVATION_REPOSITORY = "reservation_repository"
    RESOURCE_POLICY_REPOSITORY = "resource_policy_repository"
    RETENTION_REPOSITORY = "retention_repository"
    SCALING_GROUP_REPOSITORY = "scaling_group_repository"
    SCALING_GROUP_DB_SOURCE = "scaling_group_db_source"
    SCALING_GROUP_CACHE_SOURCE = "scaling_group_cache_source"
    SCHEDULER_REPOSITORY = "scheduler_repository"
    SCHEDULER_DB_SOURCE = "scheduler_db_source"
    SCHEDULE_CACHE_SOURCE = "schedule_cache_source"
    SESSION_REPOSITORY = "session_repository"
    SESSION_DB_SOURCE = "session_db_source"
    SESSION_CACHE_SOURCE = "session_cache_source"
    VFOLDER_REPOSITORY = "vfolder_repository"
    VALKEY_CLIENT = "valkey_client"


def layer_resilience(
    layer: LayerType, *, deadline: float = DEFAULT_DEADLINE, retries: bool = True
) -> Resilience:
    """Build what surrounds the public methods of one layer: metrics, one deadline (seconds), and retries.

    A call is retried in one layer only, the one that opens its transaction: ``retries`` is False where a method
    asks a source that retries by itself.
    """
    policies: list[Policy] = [
        MetricPolicy(MetricArgs(domain=DomainType.REPOSITORY, layer=layer)),
        TimeoutPolicy(TimeoutArgs(deadline=deadline)),
    ]
    if retries:
        policies.append(RetryPolicy(RetryArgs(is_retryable=is_transient)))
    return Resilience(policies=policies)
