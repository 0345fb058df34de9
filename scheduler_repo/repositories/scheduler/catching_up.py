"""Bringing a base up to date by what has changed since."""

from time import perf_counter
from typing import Final, Union

from scheduler_repo.entities.snapshot_changes import FullReadReason, Refresh
from scheduler_repo.errors import (
    DatabaseTimeout,
    DatabaseUnavailable,
    EngineClosed,
    NotFound,
    SchedulerRepoError,
    WrongEventLoop,
)
from scheduler_repo.quoting import get_logger, quoted, shortened
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.scheduling.deltas.apply import Applied, apply_changes
from scheduler_repo.scheduling.deltas.base import IndexedBase
from scheduler_repo.steps import finish_in_slices

# They say nothing against a base.
_OF_ANY_READ: Final = (DatabaseTimeout, DatabaseUnavailable, EngineClosed, NotFound, WrongEventLoop)

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
        try:
            with db_source.collector_relaxed():
                await finish_in_slices(base.index())
        except ValueError as error:
            return _give_up(base, error)
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
        return _give_up(base, error)
    return Refresh(applied.data, None, applied.changes, since, fetched - started, perf_counter() - fetched)


def _give_up(base: IndexedBase, error: Exception) -> FullReadReason:
    """Hold a base for wrong: each later refresh would fail as this did, or go on from half an edit."""
    base.is_wrong = True
    _logger.error(
        "what has changed in scaling group %s does not fit what is held, which is read anew: %s: %s",
        quoted(base.data.scaling_group.name),
        type(error).__name__,
        shortened(error),
    )
    return FullReadReason.DIFFERED


async def catch_up_stored(db_source: SchedulerDBSource, base: IndexedBase) -> Union[Refresh, FullReadReason]:
    """Bring a base up to date that stood in Redis; what goes wrong with it alone is a reason to read all anew.

    Raises, and costs, what ``catch_up`` does for one that was read from this database.
    """
    try:
        return await catch_up(db_source, base)
    except _OF_ANY_READ:
        raise
    except SchedulerRepoError as error:
        _logger.warning(
            "what Redis has of scaling group %s cannot be brought up to date, and everything is read: %s",
            quoted(base.data.scaling_group.name),
            error,
        )
        return FullReadReason.DIFFERED
