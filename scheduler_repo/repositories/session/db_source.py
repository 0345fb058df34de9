"""Sessions in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Optional

from scheduler_repo.database.bulk import copy_rows
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession
from scheduler_repo.database.statements import fetch_rows
from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.scaling_group.db_source import SLOT_TYPES
from scheduler_repo.repositories.scheduler.reading import SNAPSHOT
from scheduler_repo.repositories.writing import OpenWrite, WriteKind, check_items
from scheduler_repo.resilience.layers import LayerType, db_source_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.feasibility import total_slots
from scheduler_repo.scheduling.transforms import slot_types_by_index
from scheduler_repo.slots import checked_int32, checked_quantity, slot_vector
from scheduler_repo.specs import SessionCreationSpec
from scheduler_repo.types import OperationId, SessionId, SessionStatus, SlotName, SlotVector

_ENQUEUE_SESSIONS = WriteKind("enqueue_sessions", tuple[SessionId, ...])

_MICROSECOND = timedelta(microseconds=1)
_OWNER_COLUMNS = ("access_key", "user_id", "project_id", "domain_name")
_SESSION_COLUMNS = (
    "id",
    "name",
    "scaling_group",
    *_OWNER_COLUMNS,
    "session_type",
    "cluster_mode",
    "priority",
    "designated_agent_ids",
    "created_at",
    "requested_start_at",
)
_KERNEL_COLUMNS = (
    "id",
    "session_id",
    "kernel_index",
    "scaling_group",
    *_OWNER_COLUMNS,
    "image",
    "architecture",
    "requested_slots",
)


_resilience = db_source_resilience(LayerType.SESSION_DB_SOURCE)


class SessionDBSource:
    """Enqueues sessions."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.WRITE)
    async def enqueue_sessions(
        self, sessions: Sequence[SessionCreationSpec], operation_id: Optional[OperationId] = None
    ) -> tuple[SessionId, ...]:
        """Put sessions into their groups' queues, all or none, and return their ids in the order given.

        Raises SessionAlreadyExists, ScalingGroupNotFound, OwnerNotFound, UnknownSlotType, InvalidQuantity,
        InvalidInput, OperationMismatch and OutcomeUnknown. Costs eight statements, whatever the number.
        """
        check_items(sessions, SessionCreationSpec)
        if not sessions:
            return ()

        async def enqueue(write: OpenWrite) -> tuple[SessionId, ...]:
            slot_types = slot_types_by_index(await fetch_rows(write.db_sess, SLOT_TYPES))
            await insert_sessions(write.db_sess, sessions, [slot_type.name for slot_type in slot_types])
            return tuple(session.session_id for session in sessions)

        return await _ENQUEUE_SESSIONS.run(self._engine, enqueue, request=sessions, operation_id=operation_id)


async def insert_sessions(
    db_sess: SASession, sessions: Sequence[SessionCreationSpec], slot_names: Sequence[SlotName]
) -> None:
    """Add sessions, their kernels, dependencies and history in the session's transaction."""
    (snapshot,) = await fetch_rows(db_sess, SNAPSHOT)
    now: datetime = snapshot[0]
    session_rows: list[tuple[object, ...]] = []
    kernel_rows: list[tuple[object, ...]] = []
    dependency_rows: list[tuple[object, ...]] = []
    for position, session in enumerate(sessions):
        subject = f"session {session.name} ({session.session_id})"
        if not session.kernels:
            raise InvalidInput(f"{subject} has no kernels, and would never be placed; give it one or more")
        if session.session_id in session.depends_on or len(set(session.depends_on)) < len(session.depends_on):
            raise InvalidInput(
                f"{subject} depends on itself, or on one session twice; name each other one once"
            )
        for when in (session.created_at, session.requested_start_at):
            if when is not None and when.tzinfo is None:
                raise InvalidInput(f"{subject}: the time {when.isoformat()} has no time zone; give it one")
            if when is not None and not 1 < when.year < 9999:
                raise InvalidInput(f"{subject}: the time {when.isoformat()} cannot be stored; leave it out")
        checked_int32(session.priority, f"{subject}, priority")
        owners = (session.access_key, session.user_id, session.project_id, session.domain_name)
        session_rows.append(
            (
                session.session_id,
                session.name,
                session.scaling_group,
                *owners,
                session.session_type.value,
                session.cluster_mode.value,
                session.priority,
                sorted(session.designated_agent_ids),
                # One batch, one clock: a microsecond apart, so that the queue keeps the order given.
                session.created_at or now + position * _MICROSECOND,
                session.requested_start_at,
            )
        )
        dependency_rows.extend((session.session_id, other) for other in session.depends_on)
        requests: list[SlotVector] = []
        for index, kernel in enumerate(session.kernels):
            requested = slot_vector(kernel.requested_slots, slot_names, f"{subject}, kernel {index}")
            requests.append(requested)
            kernel_rows.append(
                (
                    kernel.kernel_id,
                    session.session_id,
                    index,
                    session.scaling_group,
                    *owners,
                    kernel.image,
                    kernel.architecture,
                    requested,
                )
            )
        if len(requests) > 1:
            for slot_name, amount in zip(slot_names, total_slots(requests), strict=True):
                checked_quantity(amount, f"{subject}, all kernels together, slot {slot_name}")
    # Of two callers with the same sessions one waits and finds them; in unlike orders they would deadlock.
    session_rows.sort(key=itemgetter(0))
    await copy_rows(db_sess, "sessions", _SESSION_COLUMNS, session_rows)
    await copy_rows(db_sess, "kernels", _KERNEL_COLUMNS, kernel_rows)
    await copy_rows(db_sess, "session_dependencies", ("session_id", "depends_on"), dependency_rows)
    history_rows = [(session.session_id, SessionStatus.PENDING.value) for session in sessions]
    await copy_rows(db_sess, "session_history", ("session_id", "to_status"), history_rows)
