"""The state of scaling groups, held from one read to the next and brought up to date by what has changed."""

import asyncio
from collections import OrderedDict
from contextlib import AsyncExitStack, suppress
from time import monotonic
from typing import Final, Optional
from weakref import WeakValueDictionary

from scheduler_repo.cache.single_flight import SingleFlight
from scheduler_repo.entities.snapshot_changes import FullReadReason, Refresh
from scheduler_repo.entities.snapshot_comparison import ComparisonOutcome, SnapshotComparison
from scheduler_repo.entities.snapshot_token import Writes, transactions_of
from scheduler_repo.errors import SchedulerRepoError
from scheduler_repo.metrics.refreshes import count_beginning, count_comparison, count_refresh
from scheduler_repo.quoting import get_logger, quoted, shortened
from scheduler_repo.repositories.scheduler.base_upkeep import BaseUpkeep, Beginning
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.catching_up import catch_up
from scheduler_repo.repositories.scheduler.changes import fetch_changes
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.scheduling.deltas.apply import Applied, apply_changes
from scheduler_repo.scheduling.deltas.base import IndexedBase
from scheduler_repo.scheduling.deltas.comparison import find_difference
from scheduler_repo.scheduling.snapshot.build import build_scheduling_data
from scheduler_repo.steps import finish_in_slices
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.validation import Limit31, check_length, check_range
from scheduler_repo.wiring import check_same_engine, check_wiring

DEFAULT_MAX_GROUPS: Final = 16
# Pending sessions of one kernel each take 1.3 GiB, with their index.
DEFAULT_MAX_ROWS: Final = 1_000_000
# A history that is missing for another reason than a crash is still missing then.
_RENEWAL_SECONDS: Final = 60.0

_logger = get_logger(__name__)

_Question = tuple[ScalingGroupName, Optional[int]]


class SnapshotTracker:
    """Answers ``get_scheduling_data`` from the answer before and what has changed since, exactly.

    It holds the last answer of each group and ``pending_limit``, of those asked for last. What has not changed
    is shared by one answer and the next. A read that fails or is cancelled leaves it as it was.
    """

    def __init__(
        self,
        db_source: SchedulerDBSource,
        cache_source: Optional[SchedulerCacheSource] = None,
        *,
        max_groups: int = DEFAULT_MAX_GROUPS,
        max_rows: int = DEFAULT_MAX_ROWS,
    ) -> None:
        """Hold the answers of at most ``max_groups`` questions, of ``max_rows`` sessions and agents in all.

        One that is larger alone is held by itself. With ``cache_source``, it begins from what is in Redis
        and the changes since. Raises InvalidWiring for what is no source, InvalidInput for a bound below 1.
        """
        check_wiring(db_source, SchedulerDBSource, "db_source", "SchedulerDBSource(engine)")
        if cache_source is not None:
            advice = "SchedulerCacheSource(redis, db_source)"
            check_wiring(cache_source, SchedulerCacheSource, "cache_source", advice)
            check_same_engine(db_source.engine, cache_source.db_source.engine)
        check_range(max_groups, Limit31, "max_groups")
        check_range(max_rows, Limit31, "max_rows")
        self._db_source = db_source
        self._upkeep = None if cache_source is None else BaseUpkeep(cache_source)
        self._max_groups = max_groups
        self._max_rows = max_rows
        # The question asked last stands at the end.
        self._held: OrderedDict[_Question, IndexedBase] = OrderedDict()
        self._refreshes: SingleFlight[Refresh] = SingleFlight()
        # Each for as long as somebody has it or waits for it: two at a time would edit one base twice.
        self._turns: WeakValueDictionary[_Question, asyncio.Lock] = WeakValueDictionary()
        self._comparing = asyncio.Lock()
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
        question = _check_question(scaling_group, pending_limit)
        # Else the collector looks at all that was made before the caller has it.
        with self._db_source.collector_relaxed():
            return await self._refreshes.run(question, lambda: self._take_turn(question))

    async def compare(
        self, scaling_group: ScalingGroupName, pending_limit: Optional[int] = None
    ) -> SnapshotComparison:
        """Compare the answer that is held, with the changes since, with a full read of the same snapshot.

        A difference is logged, and the next answer is a full read; every outcome is counted, by the metric
        scheduler_repo_snapshot_comparison_count. One runs at a time, and refreshes go on beside its full read.
        What fails is logged and is an outcome too: raises InvalidInput for a ``pending_limit`` below 1 only.
        Costs a refresh and a full read in one transaction, and their memory.
        """
        question = _check_question(scaling_group, pending_limit)
        async with self._comparing:
            comparison = await self._compare(question)
        count_comparison(scaling_group, comparison.outcome)
        return comparison

    async def store_base(self, scaling_group: ScalingGroupName, after: Writes = None) -> bool:
        """Store a group's state for processes that start, if it is time, in the background; say whether it is.

        It is time after a full read, after 1,000 changes since it was stored last, and at half its lifetime,
        unless another process has stored it since. What is stored has seen the writes ``after``. A tracker
        without a cache source stores nothing. ``SchedulerLoop`` asks after each tick. Raises what
        ``get_scheduling_data`` does. Costs nothing as a rule, else a refresh, which the next one need not do
        again.
        """
        writes = transactions_of(after)
        question = _check_question(scaling_group, None)
        held = self._held.get(question)
        if self._upkeep is None or held is None or not await self._upkeep.is_due(held.data):
            return False
        asked_at = monotonic()
        data = (await self.get_scheduling_data(scaling_group)).data
        # A standby may lag behind.
        if not all(data.has_seen(each) for each in writes):
            return False
        self._upkeep.store(data, asked_at)
        return True

    def forget(self, scaling_group: Optional[ScalingGroupName] = None) -> None:
        """Drop what is held of a group, or of all; the next read of it is a full one."""
        for question in list(self._held):
            if scaling_group in (None, question[0]):
                del self._held[question]
        if self._upkeep is not None:
            self._upkeep.forget(scaling_group)
        # A refresh under way answers who waits for it already, and is not held.
        self._forgotten += 1

    async def _take_turn(self, question: _Question) -> Refresh:
        async with self._turn(question):
            # Who asks from now on may have seen a write that this refresh has not.
            self._refreshes.detach(question)
            refresh = await self._refresh(question)
        if self._upkeep is not None and question[1] is None:
            self._upkeep.note(question[0], refresh)
        return refresh

    def _turn(self, question: _Question) -> asyncio.Lock:
        return self._turns.setdefault(question, asyncio.Lock())

    async def _refresh(self, question: _Question) -> Refresh:
        forgotten = self._forgotten
        base = self._held.get(question)
        reason = FullReadReason.FIRST
        if base is not None:
            found = await catch_up(self._db_source, base)
            if isinstance(found, Refresh):
                self._hold(question, base, forgotten)
                count_refresh(question[0], found)
                return found
            reason = found
        elif self._upkeep is not None and question[1] is None:
            begun = await self._upkeep.begin(question[0])
            if isinstance(begun, Beginning):
                self._hold(question, begun.base, forgotten)
                count_beginning(question[0])
                return begun.refresh
            reason = begun
        timed = await self._db_source.get_scheduling_data(*question)
        if timed.data.token.history is None:
            await self._renew_history()
        self._hold(question, IndexedBase(timed.data), forgotten)
        since = None if base is None else base.data.token
        refresh = Refresh(timed.data, reason, None, since, timed.read_seconds, timed.transform_seconds)
        count_refresh(question[0], refresh)
        return refresh

    async def _compare(self, question: _Question) -> SnapshotComparison:
        base = self._held.get(question)
        if base is None or base.is_wrong:
            return SnapshotComparison(ComparisonOutcome.NOT_COMPARED)
        try:
            comparison = await self._compare_base(question, base)
        except SchedulerRepoError as error:
            _logger.warning("what is held of scaling group %s was not compared: %s", quoted(question[0]), error)
            return SnapshotComparison(ComparisonOutcome.FAILED)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the caller's loop
            # Such as an index that does not fit its data: a refresh would fail as this did.
            base.is_wrong = True
            _logger.error(
                "what is held of scaling group %s cannot be compared and is read anew: %s: %s",
                quoted(question[0]),
                type(error).__name__,
                shortened(error),
            )
            return SnapshotComparison(ComparisonOutcome.FAILED)
        if comparison.difference is not None:
            base.is_wrong = True
            _logger.error(
                "what is held of scaling group %s differs from a full read of the same snapshot, and is read "
                "anew: %s",
                quoted(question[0]),
                comparison.difference,
            )
        return comparison

    async def _compare_base(self, question: _Question, base: IndexedBase) -> SnapshotComparison:
        # The base is left as it is: the changes are applied for the comparison alone.
        async with AsyncExitStack() as turn:
            # Before the connection, as a refresh does: one that holds it must not wait for a turn.
            await turn.enter_async_context(self._turn(question))
            if self._held.get(question) is not base:
                return SnapshotComparison(ComparisonOutcome.NOT_COMPARED)
            await finish_in_slices(base.index())
            with self._db_source.collector_relaxed():
                async with self._db_source.engine.begin_readonly_session() as db_sess:
                    changes = await fetch_changes(db_sess, base)
                    applied = changes if isinstance(changes, FullReadReason) else apply_changes(base, changes)
                    if not isinstance(applied, Applied):
                        return SnapshotComparison(ComparisonOutcome.NOT_COMPARED, reason=applied)
                    # Refreshes go on while everything is read: the snapshot stays what it is.
                    await turn.aclose()
                    rows = await self._db_source.fetch_raw_scheduling_data(db_sess, *question)
                steps = build_scheduling_data(rows)
                del rows
                read = await finish_in_slices(steps)
        difference = await finish_in_slices(find_difference(applied.data, read))
        outcome = ComparisonOutcome.EQUAL if difference is None else ComparisonOutcome.DIFFERENT
        return SnapshotComparison(outcome, difference)

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
        if forgotten == self._forgotten:
            self._held[question] = base
            self._held.move_to_end(question)
            self._drop_oldest()
        if self._upkeep is not None:
            self._upkeep.forget_others({group for group, limit in self._held if limit is None})

    def _drop_oldest(self) -> None:
        rows = sum(each.row_count for each in self._held.values())
        while len(self._held) > 1 and (len(self._held) > self._max_groups or rows > self._max_rows):
            oldest = next(iter(self._held))
            rows -= self._held[oldest].row_count
            del self._held[oldest]


def _check_question(scaling_group: ScalingGroupName, pending_limit: Optional[int]) -> _Question:
    check_length(scaling_group, "scaling group")
    if pending_limit is not None:
        check_range(pending_limit, Limit31, "pending_limit")
    return scaling_group, pending_limit
