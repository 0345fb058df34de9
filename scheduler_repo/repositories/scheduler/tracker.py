"""The state of scaling groups, held from one read to the next and brought up to date by what has changed."""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from time import monotonic, perf_counter
from typing import Final, Optional, Union

from scheduler_repo.cache.single_flight import SingleFlight
from scheduler_repo.entities.snapshot_changes import FullReadReason, Refresh
from scheduler_repo.errors import SchedulerRepoError
from scheduler_repo.metrics.refreshes import count_refresh
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.scheduling.deltas.apply import Applied, apply_changes
from scheduler_repo.scheduling.deltas.base import IndexedBase
from scheduler_repo.steps import finish_in_slices
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.validation import Limit31, check_length, check_range
from scheduler_repo.wiring import check_wiring

DEFAULT_MAX_GROUPS: Final = 16
# Pending sessions of one kernel each take 1.3 GiB, with their index.
DEFAULT_MAX_ROWS: Final = 1_000_000
# A history that is missing for another reason than a crash is still missing then.
_RENEWAL_SECONDS: Final = 60.0

_Question = tuple[ScalingGroupName, Optional[int]]


class SnapshotTracker:
    """Answers ``get_scheduling_data`` from the answer before and what has changed since, exactly.

    It holds the last answer of each group and ``pending_limit``, of those asked for last. What has not changed
    is shared by one answer and the next. A read that fails or is cancelled leaves it as it was.
    """

    def __init__(
        self,
        db_source: SchedulerDBSource,
        *,
        max_groups: int = DEFAULT_MAX_GROUPS,
        max_rows: int = DEFAULT_MAX_ROWS,
    ) -> None:
        """Hold the answers of at most ``max_groups`` questions, of ``max_rows`` sessions and agents in all.

        One that is larger alone is held by itself. Raises InvalidWiring for what is no source, InvalidInput for
        a bound below 1.
        """
        check_wiring(db_source, SchedulerDBSource, "db_source", "SchedulerDBSource(engine)")
        check_range(max_groups, Limit31, "max_groups")
        check_range(max_rows, Limit31, "max_rows")
        self._db_source = db_source
        self._max_groups = max_groups
        self._max_rows = max_rows
        # The question asked last stands at the end.
        self._held: OrderedDict[_Question, IndexedBase] = OrderedDict()
        self._refreshes: SingleFlight[Refresh] = SingleFlight()
        self._turns: dict[_Question, asyncio.Lock] = {}
        self._renewed_at: Optional[float] = None
        self._forgotten = 0

    async def get_scheduling_data(
        self, scaling_group: ScalingGroupName, pending_limit: Optional[int] = None
    ) -> Refresh:
        """Return everything that one tick of a group needs, as it is now, and what has changed in it.

        Callers that come before a refresh begins share it; those that come later get a later one. Raises
        ScalingGroupNotFound, InvalidInput for a ``pending_limit`` below 1, and the errors of the database
        layer. Costs one statement where nothing has changed, up to six where something has, in time that grows
        with the changes, or a full read.
        """
        check_length(scaling_group, "scaling group")
        if pending_limit is not None:
            check_range(pending_limit, Limit31, "pending_limit")
        question = (scaling_group, pending_limit)
        return await self._refreshes.run(question, lambda: self._take_turn(question))

    def forget(self, scaling_group: Optional[ScalingGroupName] = None) -> None:
        """Drop what is held of a group, or of all; the next read of it is a full one."""
        for question in list(self._held):
            if scaling_group in (None, question[0]):
                self._drop(question)
        # A refresh under way answers who waits for it already, and is not held.
        self._forgotten += 1

    async def _take_turn(self, question: _Question) -> Refresh:
        try:
            async with self._turns.setdefault(question, asyncio.Lock()):
                # Who asks from now on may have seen a write that this refresh has not.
                self._refreshes.detach(question)
                refresh = await self._refresh(question)
        finally:
            if question not in self._held:
                self._turns.pop(question, None)
        count_refresh(question[0], refresh)
        return refresh

    async def _refresh(self, question: _Question) -> Refresh:
        forgotten = self._forgotten
        base = self._held.get(question)
        reason = FullReadReason.FIRST
        if base is not None:
            found = await self._catch_up(base)
            if isinstance(found, Refresh):
                self._hold(question, base, forgotten)
                return found
            reason = found
        timed = await self._db_source.get_scheduling_data(*question)
        if timed.data.token.history is None:
            await self._renew_history()
        self._hold(question, IndexedBase(timed.data), forgotten)
        since = None if base is None else base.data.token
        return Refresh(timed.data, reason, None, since, timed.read_seconds, timed.transform_seconds)

    async def _catch_up(self, base: IndexedBase) -> Union[Refresh, FullReadReason]:
        # Before a connection is held: it takes long once.
        await finish_in_slices(base.index())
        started = perf_counter()
        raw = await self._db_source.get_changes(base)
        if isinstance(raw, FullReadReason):
            return raw
        fetched = perf_counter()
        applied = apply_changes(base, raw)
        if not isinstance(applied, Applied):
            return applied
        since = base.data.token
        base.advance(applied.data, applied.edits)
        return Refresh(applied.data, None, applied.changes, since, fetched - started, perf_counter() - fetched)

    async def _renew_history(self) -> None:
        """Begin a new history if a crash has ended the last; else nothing could be followed ever again."""
        if self._renewed_at is not None and monotonic() - self._renewed_at < _RENEWAL_SECONDS:
            return
        self._renewed_at = monotonic()
        # A standby has none, and other failures pass: the answer is right without.
        with suppress(SchedulerRepoError):
            await self._db_source.renew_server_life()

    def _hold(self, question: _Question, base: IndexedBase, forgotten: int) -> None:
        """Hold a base, and drop those asked for longest ago that are too many or too large beside it.

        Not if something was forgotten since its refresh began, when that many times it had been.
        """
        if forgotten != self._forgotten:
            return
        self._held[question] = base
        self._held.move_to_end(question)
        rows = sum(each.row_count for each in self._held.values())
        while len(self._held) > 1 and (len(self._held) > self._max_groups or rows > self._max_rows):
            oldest = next(iter(self._held))
            rows -= self._held[oldest].row_count
            self._drop(oldest)

    def _drop(self, question: _Question) -> None:
        del self._held[question]
        self._turns.pop(question, None)
