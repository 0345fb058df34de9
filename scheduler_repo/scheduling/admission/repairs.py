"""The gate of repairs: whether a drifted counter may be set to the sum over its agent's kernels."""

from typing import Union

from scheduler_repo.entities.audit import DriftedCounter, RepairedCounter, RepairObstacle, UnrepairableCounter


def repair_counter(counter: DriftedCounter) -> Union[RepairedCounter, UnrepairableCounter]:
    """Return the value that a drifted counter is to be set to, or why it cannot be; nothing is clamped."""
    recorded, limit = counter.recorded, counter.limit
    if counter.slot_index is not None and counter.slot_name is None:
        return UnrepairableCounter(counter, RepairObstacle.SLOT_TYPE_UNKNOWN)
    is_slot = counter.slot_index is not None
    if recorded is None:
        missing = RepairObstacle.SLOT_NOT_ON_AGENT if is_slot else RepairObstacle.AGENT_UNKNOWN
        return UnrepairableCounter(counter, missing)
    if limit is not None and counter.held > limit:
        above = RepairObstacle.ABOVE_CAPACITY if is_slot else RepairObstacle.ABOVE_MAX_CONTAINERS
        return UnrepairableCounter(counter, above)
    return RepairedCounter(counter.agent_id, counter.slot_name, recorded, counter.held)
