"""Bringing a base up to date by what has changed since."""

from time import perf_counter
from typing import Union

from scheduler_repo.entities.snapshot_changes import FullReadReason, Refresh
from scheduler_repo.quoting import get_logger, quoted, shortened
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.scheduling.deltas.apply import Applied, apply_changes
from scheduler_repo.scheduling.deltas.base import IndexedBase
from scheduler_repo.steps import finish_in_slices

_logger = get_logger(__name__)


async def catch_up(db_source: SchedulerDBSource, base: IndexedBase) -> Union[Refresh, FullReadReason]:
    """Bring a base up to date, and return its answer of now; a reason where all must be read anew.

    A base that its changes do not fit is wrong from then on. Raises ScalingGroupNotFound and the errors of the
    database layer; then, and when it is cancelled, the base is as it was. Costs one statement where nothing has
    changed, up to six where something has.
    """
    if base.is_wrong:
        return FullReadReason.DIFFERED
    # Before a connection is held: it takes long once.
    if not base.is_indexed:
        with db_source.collector_relaxed():
            await finish_in_slices(base.index())
    started = perf_counter()
    raw = await db_source.get_changes(base)
    if isinstance(raw, FullReadReason):
        return raw
    fetched = perf_counter()
    since = base.data.token
    try:
        applied = apply_changes(base, raw)
        if not isinstance(applied, Applied):
            return applied
        base.advance(applied.data, applied.edits)
    except (LookupError, TypeError, ValueError) as error:
        # Each later refresh of this base would fail as this did, or go on from edits that are half made.
        base.is_wrong = True
        _logger.error(
            "what has changed in scaling group %s does not fit what is held, which is read anew: %s: %s",
            quoted(base.data.scaling_group.name),
            type(error).__name__,
            shortened(error),
        )
        return FullReadReason.DIFFERED
    return Refresh(applied.data, None, applied.changes, since, fetched - started, perf_counter() - fetched)
