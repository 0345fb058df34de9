"""Keeps the logs of changes short where nobody else does, beside the work of whoever finds them long.

Reads and writes that add up what is not folded are told by their first statement whether that has become much.
They go on; the logs are folded and trimmed by a task of the engine's, on a connection of its own. Of all
processes of a database one is at it at a time, the others let it be.
"""

import asyncio
import contextvars
from datetime import timedelta
from time import monotonic
from typing import Final, Optional

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession, engine_of
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.errors import PermissionDenied, SchedulerRepoError
from scheduler_repo.metrics.log_keeping import KeepingOutcome, count_keeping, count_kept
from scheduler_repo.quoting import get_logger

_FOLD_USAGE: Final = load_statement("scheduler/fold_usage")
_TRIM_CHANGES: Final = load_statement("scheduler/trim_changes")

# For how long those who follow changes may look away, unless another time is chosen.
KEPT_FOR: Final = timedelta(minutes=5)
_TRIMMED_AT_ONCE: Final = 10_000
_WORTH_FOLDING: Final = 500
_TRIM_EVERY: Final = 60.0
# After a time that has folded nothing; after one that has failed.
_PAUSE: Final = 1.0
_LONG_PAUSE: Final = 30.0
_LAST_SECONDS: Final = 2.0

_logger = get_logger(__name__)


def note_logs(db_sess: SASession, *, is_long: Optional[bool]) -> None:
    """Have the logs folded and trimmed if a read of ``db_sess`` has found them long; returns at once."""
    engine = engine_of(db_sess)
    if is_long and engine.keeps_logs_short:
        keeper_of(engine).start()


def keeper_of(engine: ExtendedAsyncSAEngine) -> "LogKeeper":
    """Return what keeps the logs for an engine, which closes it with itself."""
    keeper = engine.log_keeper
    if not isinstance(keeper, LogKeeper):
        keeper = engine.log_keeper = LogKeeper(engine.apart())
    return keeper


async def fold_usage(db_sess: SASession) -> Optional[int]:
    """Fold the log of usage, 100,000 rows and the rest of a transaction at most; costs one statement.

    Returns how many rows that was, None if another process is at it.
    """
    ((folded,),) = await fetch_rows(db_sess, _FOLD_USAGE)
    return None if folded is None else int(folded)


async def trim_changes(db_sess: SASession, kept_for: timedelta, batch_size: int) -> Optional[int]:
    """Delete what of each log is older, ``batch_size`` rows at most; costs one statement.

    Returns how many rows went, None if another process is at it.
    """
    ((trimmed,),) = await fetch_rows(db_sess, _TRIM_CHANGES, kept_for, batch_size)
    return None if trimmed is None else int(trimmed)


class LogKeeper:
    """Folds and trims the logs of one database when it is told to, one time after the other.

    What fails is counted, written to the log once until something succeeds, and tried again after half a
    minute; not again where the role may not fold.
    """

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """``engine`` is its own, as ``ExtendedAsyncSAEngine.apart`` makes it."""
        self._engine = engine
        self._task: Optional[asyncio.Task[None]] = None
        self._not_before = self._trim_at = 0.0
        self._has_warned = False
        self._is_closed = False

    def start(self) -> None:
        """Begin, unless it is under way, was just done in vain, or the keeper is closed."""
        is_busy = self._task is not None and not self._task.done()
        if not is_busy and not self._is_closed and monotonic() >= self._not_before:
            # It belongs to no call, and has no deadline of one.
            self._task = asyncio.create_task(self._keep(), context=contextvars.Context())

    async def finish(self) -> None:
        """Wait for what is under way."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self) -> None:
        """Let what is under way end for two seconds, then cancel it; nothing of a piece is written then."""
        self._is_closed = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_LAST_SECONDS)
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._engine.dispose()

    async def _keep(self) -> None:
        outcome = KeepingOutcome.CANCELLED
        try:
            outcome = await self._fold_and_trim()
            self._has_warned = False
        except PermissionDenied as error:
            outcome = KeepingOutcome.FAILED
            self._is_closed = True
            self._warn(error)
        except (SchedulerRepoError, OSError) as error:
            outcome = KeepingOutcome.FAILED
            self._not_before = monotonic() + _LONG_PAUSE
            self._warn(error)
        finally:
            count_keeping(outcome)

    async def _fold_and_trim(self) -> KeepingOutcome:
        """Work in transactions of bounded size until little is left."""
        self._not_before = monotonic() + _PAUSE
        while True:
            async with self._engine.begin_session() as db_sess:
                folded = await fold_usage(db_sess)
            if folded is None:
                return KeepingOutcome.BUSY
            count_kept(folded=folded)
            if folded:
                self._not_before = 0.0
            # Others write on: to come to an end is for a time at which nobody does.
            if folded < _WORTH_FOLDING:
                break
        if monotonic() >= self._trim_at:
            trimmed: Optional[int] = _TRIMMED_AT_ONCE
            while trimmed is not None and trimmed >= _TRIMMED_AT_ONCE:
                async with self._engine.begin_session() as db_sess:
                    trimmed = await trim_changes(db_sess, KEPT_FOR, _TRIMMED_AT_ONCE)
                count_kept(trimmed=trimmed or 0)
            self._trim_at = monotonic() + _TRIM_EVERY
        return KeepingOutcome.DONE

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "the logs of changes are long and were not folded and trimmed, which costs time alone: %s",
                error,
            )
