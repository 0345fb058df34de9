"""Writes that happen once: an operation id each, stored with its result, and the lease that they name.

The id is claimed first, so that a second try waits for the first and finds its result. A COMMIT whose answer
was lost is never guessed at: the write is asked for again under its id.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Generic, Optional, TypeVar
from uuid import uuid4

import msgspec

from scheduler_repo.database.change_listeners import announce_changes
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession
from scheduler_repo.database.row_locks import run_in_two_tries, shorten_waits
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.database.waker import note_change
from scheduler_repo.entities.encoding import build_decoder, encode
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.request_digest import compute_digest, compute_unordered_digest
from scheduler_repo.errors import (
    DatabaseError,
    InvalidInput,
    OperationMismatch,
    OutcomeUnknown,
    StaleLeaseError,
)
from scheduler_repo.quoting import shortened
from scheduler_repo.resilience.operation import current_operation
from scheduler_repo.steps import finish_in_slices
from scheduler_repo.types import OperationId, ScalingGroupName, SessionId, TransactionId
from scheduler_repo.validation import check_id

CLAIM_OPERATION = load_statement("operation/claim_operation")
FIND_OPERATION = load_statement("operation/find_operation")
FINISH_OPERATION = load_statement("operation/finish_operation")
CHECK_LEASE = load_statement("lease/check_lease")
FIND_LEASE = load_statement("lease/find_lease")
_ASK_AGAIN_SECONDS = 0.1
# As a CHECK of the table holds it.
_LONGEST_RESULT = 64 * 2**20
ResultT = TypeVar("ResultT")


class WriteTransaction(msgspec.Struct, frozen=True):
    """A write's transaction; a snapshot that includes ``transaction_id`` has seen the write.

    Statements that change sessions add their ids to ``changed_sessions``: caches are told after the COMMIT.
    """

    db_sess: SASession
    transaction_id: TransactionId
    changed_sessions: set[SessionId]


class _Done(msgspec.Struct, frozen=True, array_like=True):
    """The stored outcome of a write: its result, and the sessions that caches must forget each time."""

    result: msgspec.Raw
    changed_sessions: tuple[SessionId, ...]


_decode_done = build_decoder(_Done)


class IdempotentWrite(Generic[ResultT]):
    """One kind of write: its name, as it is stored, and the type that a stored result is decoded as."""

    def __init__(self, name: str, result_type: type[ResultT], *, wakes: bool = True) -> None:
        """``wakes`` is False where no pending session can be placed because of the write."""
        self.name = name
        self._wakes = wakes
        self._decode = build_decoder(result_type)

    async def run(
        self,
        engine: ExtendedAsyncSAEngine,
        work: Callable[[WriteTransaction], Awaitable[ResultT]],
        *,
        request: object,
        operation_id: Optional[OperationId] = None,
        lease: Optional[Lease] = None,
        groups: Optional[Collection[ScalingGroupName]] = None,
    ) -> ResultT:
        """Run ``work`` in one transaction, once for each ``operation_id``, and return its result.

        Without an id of the caller's, the call and its retries share a new one. A row that another transaction
        keeps locked ends the first try; in the second, ``work`` leaves out what needs such rows. Raises
        LockNotAvailable where it cannot, StaleLeaseError, OperationMismatch if the id was another request's,
        OutcomeUnknown if the server could not be asked in time whether a lost COMMIT stands, and the errors of
        ``work``. Costs two statements besides, three with a lease. Those are woken then who wait for
        ``groups``, None being any, to change.
        """
        chosen = _choose_id(operation_id)
        digest = await RequestDigest.of(self.name, request)

        async def attempt(settled: Callable[[], None], skips_locked: bool) -> ResultT:
            async with engine.begin_batch_session(skips_locked=skips_locked) as db_sess:
                claimed = await fetch_rows(db_sess, CLAIM_OPERATION, chosen, self.name, digest.stored)
                if not claimed:
                    done = await self._find_done(db_sess, chosen, digest)
                    # The process that did it may have ended before it told any cache.
                    changed_sessions.update(done.changed_sessions)
                    return self._decode(done.result)
                settled()
                if skips_locked:
                    await shorten_waits(db_sess)
                if lease is not None and not await fetch_rows(
                    db_sess, CHECK_LEASE, lease.scaling_group, lease.holder, lease.epoch
                ):
                    raise await stale_lease(db_sess, lease)
                result = await work(WriteTransaction(db_sess, TransactionId(claimed[0][0]), changed_sessions))
                done = _Done(msgspec.Raw(encode(result)), tuple(changed_sessions))
                await fetch_rows(db_sess, FINISH_OPERATION, chosen, _bounded(encode(done)))
                return result

        async with announce_changes(engine) as changed_sessions:
            try:
                result = await run_in_two_tries(engine, partial(attempt, lambda: None))
            except OutcomeUnknown as lost:
                result = await _ask_again(
                    lambda settled: run_in_two_tries(engine, partial(attempt, settled)),
                    lost,
                    chosen,
                    engine.resolve_timeout,
                )
        if self._wakes:
            note_change(engine, groups)
        return result

    async def _find_done(self, db_sess: SASession, operation_id: OperationId, digest: "RequestDigest") -> _Done:
        rows = await fetch_rows(db_sess, FIND_OPERATION, operation_id)
        if not rows:
            raise DatabaseError(
                f"operation {operation_id} was done before, and its result was purged at this moment; nothing "
                "was written now"
            )
        kind, stored_digest, result = rows[0]
        if kind != self.name or not await digest.is_of(stored_digest):
            raise OperationMismatch(
                f"operation {operation_id} was {kind} with another request, and is now asked for as "
                f"{self.name}; an id stands for one write, make a new one for another",
                operation_id=operation_id,
            )
        try:
            return _decode_done(result)
        except msgspec.ValidationError:
            # Stored before revision 0003, when it was the result alone.
            return _Done(msgspec.Raw(result), ())


class RequestDigest(msgspec.Struct, frozen=True):
    """The digest of a request as it is stored now; it knows too what the version before stored."""

    name: str
    request: object
    stored: bytes

    @classmethod
    async def of(cls, name: str, request: object) -> "RequestDigest":
        """Compute the digest of a request to the write ``name``; raises InvalidInput for what has none."""
        return cls(name, request, await finish_in_slices(compute_digest(name, request)))

    async def is_of(self, stored: bytes) -> bool:
        """Whether a stored digest is of this request."""
        # Until mappings were ordered, a digest went by the order that they were given in.
        return stored == self.stored or stored == await finish_in_slices(
            compute_unordered_digest(self.name, self.request)
        )


def _choose_id(given: Optional[OperationId]) -> OperationId:
    """Choose the id to write under; a retry finds the one of the first attempt."""
    if given is not None:
        check_id(given, "operation")
    operation = current_operation()
    earlier = None if operation is None else operation.operation_id
    chosen = given or earlier or OperationId(uuid4())
    if operation is not None:
        operation.note_operation_id(chosen)
    return chosen


async def _ask_again(
    attempt: Callable[[Callable[[], None]], Awaitable[ResultT]],
    lost: OutcomeUnknown,
    operation_id: OperationId,
    resolve_timeout: float,
) -> ResultT:
    deadline = asyncio.get_running_loop().time() + resolve_timeout
    found: Optional[DatabaseError] = None
    try:
        while True:
            async with asyncio.timeout_at(deadline) as waiting:
                await asyncio.sleep(_ASK_AGAIN_SECONDS)
                try:
                    # Claiming the id proves that the lost attempt rolled back: the timeout no longer applies.
                    return await attempt(lambda: waiting.reschedule(None))
                except DatabaseError as error:
                    if waiting.when() is None and not isinstance(error, OutcomeUnknown):
                        raise
                    # The server is not back, only reads for now, or the lost transaction still holds the id.
                    found = error
    except TimeoutError:
        if waiting.when() is None:
            raise  # of the work itself, which no timeout bounds any more
        last = "" if found is None else f" (the last time: {found})"
        raise OutcomeUnknown(
            f"the connection was lost at the COMMIT of operation {operation_id}, and the server gave no answer "
            f"in {resolve_timeout:g} s{last}: all was written, or nothing; ask again under this operation id",
            operation_id=operation_id,
        ) from lost


async def stale_lease(db_sess: SASession, lease: Lease) -> StaleLeaseError:
    """Build the error for a lease that does not hold any more; costs one statement."""
    rows = await fetch_rows(db_sess, FIND_LEASE, lease.scaling_group)
    holder, epoch, is_held = None, None, False
    if not rows:
        found = "there is none"
    else:
        (_, holder, epoch, _, expires_at, is_held, _) = rows[0]
        state = "held until" if is_held else "expired at"
        found = f"it is now epoch {epoch} of {holder}, {state} {expires_at.isoformat()}"
    return StaleLeaseError(
        f"the lease of scaling group {shortened(lease.scaling_group)}, epoch {lease.epoch} of "
        f"{shortened(lease.holder)}, does not hold: {found}; nothing was written, acquire the lease again "
        "before deciding anew",
        scaling_group=lease.scaling_group,
        holder=lease.holder,
        epoch=lease.epoch,
        present_holder=holder if is_held else None,
        present_epoch=epoch if is_held else None,
    )


def _bounded(result: bytes) -> bytes:
    if len(result) > _LONGEST_RESULT:
        raise InvalidInput(
            f"the answer, which is stored with the operation, has {len(result)} bytes, above the limit of "
            f"{_LONGEST_RESULT}; nothing was written, give smaller batches"
        )
    return result
