"""The statements that put new sessions into their groups' queues: all or none, or each that can be created."""

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from scheduler_repo.database.bulk import array_text, copy_rows
from scheduler_repo.database.engine import SASession
from scheduler_repo.database.lookups import SLOT_TYPES, SNAPSHOT
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.session import (
    CreationRejectionCode,
    RejectedSession,
    SessionCreationSpec,
    SessionInfo,
)
from scheduler_repo.quoting import printable, quoted
from scheduler_repo.repositories.session.rows import (
    DEPENDENCY_COLUMNS,
    KERNEL_COLUMNS,
    MOUNT_COLUMNS,
    SESSION_COLUMNS,
    Refused,
    Row,
    SessionRows,
    add_rows,
    check_storable,
    designated_agents,
    no_rows,
    refuse,
    requested_slots,
    session_of,
    subject_of,
)
from scheduler_repo.scheduling.rules.feasibility import total_slots
from scheduler_repo.scheduling.snapshot.build import slot_types_by_index
from scheduler_repo.types import KernelId, SessionId, SessionStatus, SlotName
from scheduler_repo.validation import check_ids, checked_batch

CREATION_REFERENCES = load_statement("session/creation_references")
CREATE_SESSIONS = load_statement("session/create_sessions")
CREATE_KERNELS = load_statement("session/create_kernels")
UNCREATE_SESSIONS = load_statement("session/uncreate_sessions")

# When it was created, and when it got its status.
_Times = tuple[datetime, datetime]


class CreatedBatch(NamedTuple):
    """What became of a batch: when each of its sessions was created, and which were not, in the order given."""

    times: dict[SessionId, _Times]
    rejected: list[RejectedSession]
    kernel_rows: list[Row]

    def info_of(self, session: SessionCreationSpec) -> SessionInfo:
        """Return one that was created."""
        created_at, status_changed_at = self.times[session.session_id]
        return SessionInfo(
            session_id=session.session_id,
            name=session.name,
            scaling_group=session.scaling_group,
            access_key=session.access_key,
            session_type=session.session_type,
            status=SessionStatus.PENDING,
            result=None,
            created_at=created_at,
            status_changed_at=status_changed_at,
            requested_slots=total_slots(
                requested_slots(row) for row in self.kernel_rows if session_of(row) == session.session_id
            ),
        )


def check_answerable(sessions: object) -> None:
    """Raise InvalidInput for what is no list of specs, or has an id by which no answer could name it."""
    specs = checked_batch(sessions, SessionCreationSpec, "sessions")
    check_ids("session", [spec.session_id for spec in specs])


def check_sessions(sessions: Sequence[SessionCreationSpec]) -> None:
    """Raise InvalidInput for what is no list of specs, or names what cannot be; asks nothing."""
    check_answerable(sessions)
    try:
        for session in sessions:
            check_storable(session)
    except Refused as refused:
        raise refused.rejection.to_error() from None


async def insert_sessions(
    db_sess: SASession, sessions: Sequence[SessionCreationSpec], slot_names: Sequence[SlotName]
) -> None:
    """Add sessions with all that belongs to them, all or none; raises the first refused one's error."""
    (snapshot,) = await fetch_rows(db_sess, SNAPSHOT)
    rows = no_rows()
    try:
        for position, session in enumerate(sessions):
            add_rows(rows, session, position, snapshot[0], slot_names)
    except Refused as refused:
        raise refused.rejection.to_error() from None
    # Of two callers with the same sessions one waits and finds them; in unlike orders they would deadlock.
    rows.sessions.sort(key=itemgetter(0))
    await copy_rows(db_sess, "sessions", SESSION_COLUMNS, rows.sessions)
    await copy_rows(db_sess, "kernels", KERNEL_COLUMNS, rows.kernels)
    await _copy_the_rest(db_sess, rows, [session.session_id for session in sessions])


async def create_batch(db_sess: SASession, sessions: Sequence[SessionCreationSpec]) -> CreatedBatch:
    """Add each session of a batch that can be created; costs up to nine statements, whatever its size.

    Another caller that creates the same sessions or kernels is waited for, and stands.
    """
    slot_types = slot_types_by_index(await fetch_rows(db_sess, SLOT_TYPES))
    (snapshot,) = await fetch_rows(db_sess, SNAPSHOT)
    slot_names = [slot_type.name for slot_type in slot_types]
    rejected: dict[int, RejectedSession] = {}
    sound: dict[int, SessionRows] = {}
    for position, session in enumerate(sessions):
        own = no_rows()
        try:
            check_storable(session)
            add_rows(own, session, position, snapshot[0], slot_names)
        except Refused as refused:
            rejected[position] = refused.rejection
        else:
            sound[position] = own
    references = await _references(db_sess, [sessions[position] for position in sound])
    names = _Names(set(), set())
    rows = no_rows()
    for position, own in sound.items():
        try:
            references.check(sessions[position])
            names.take(sessions[position])
        except Refused as refused:
            rejected[position] = refused.rejection
        else:
            for all_of_table, of_session in zip(rows, own, strict=True):
                all_of_table.extend(of_session)
    times, there = await _insert(db_sess, rows)
    for position, session in enumerate(sessions):
        if position not in rejected and session.session_id not in times:
            rejected[position] = _already_there(session, session.session_id in there)
    return CreatedBatch(times, [rejected[position] for position in sorted(rejected)], rows.kernels)


class _Names(NamedTuple):
    """The ids that a batch has so far."""

    session_ids: set[SessionId]
    kernel_ids: set[KernelId]

    def take(self, session: SessionCreationSpec) -> None:
        """Raise Refused if the session's id is there, or one of its kernels'; else add them."""
        kernel_ids = {kernel.kernel_id for kernel in session.kernels}
        if (
            session.session_id in self.session_ids
            or not kernel_ids.isdisjoint(self.kernel_ids)
            or len(kernel_ids) < len(session.kernels)
        ):
            refuse(
                session,
                CreationRejectionCode.DUPLICATE,
                f"{subject_of(session)}: its id, or one of its kernels', is there "
                "before in the batch; name each once",
            )
        self.session_ids.add(session.session_id)
        self.kernel_ids.update(kernel_ids)


class _References(NamedTuple):
    """What exists of all that a batch refers to."""

    scaling_groups: set[str]
    key_owners: set[tuple[object, ...]]
    project_homes: set[tuple[object, ...]]
    vfolders: set[object]

    def check(self, session: SessionCreationSpec) -> None:
        """Raise Refused for what the session names and is not there."""
        subject = subject_of(session)
        if session.scaling_group not in self.scaling_groups:
            refuse(
                session,
                CreationRejectionCode.SCALING_GROUP_UNKNOWN,
                f"{subject}: there is no scaling group {quoted(session.scaling_group)}; correct it or create "
                "one",
            )
        if (session.access_key, session.user_id) not in self.key_owners:
            refuse(
                session,
                CreationRejectionCode.OWNER_UNKNOWN,
                f"{subject}: access key {quoted(session.access_key)} does not exist, or is not of user "
                f"{session.user_id}; correct either, or register the keypair",
            )
        if (session.project_id, session.domain_name) not in self.project_homes:
            refuse(
                session,
                CreationRejectionCode.OWNER_UNKNOWN,
                f"{subject}: project {session.project_id} does not exist, or is not of domain "
                f"{quoted(session.domain_name)}; correct either, or register the project",
            )
        for mount in session.mounts:
            if mount.vfolder_id not in self.vfolders:
                refuse(
                    session,
                    CreationRejectionCode.VFOLDER_UNKNOWN,
                    f"{subject}: there is no vfolder {mount.vfolder_id}; correct the id or create it",
                )


async def _references(db_sess: SASession, sessions: Sequence[SessionCreationSpec]) -> _References:
    rows = await fetch_rows(
        db_sess,
        CREATION_REFERENCES,
        list({session.scaling_group for session in sessions}),
        list({session.access_key for session in sessions}),
        list({session.project_id for session in sessions}),
        list({mount.vfolder_id for session in sessions for mount in session.mounts}),
    )
    return _References(
        {row[0] for row in rows if row[0] is not None},
        {(row[1], row[2]) for row in rows if row[1] is not None},
        {(row[3], row[4]) for row in rows if row[3] is not None},
        {row[5] for row in rows if row[5] is not None},
    )


async def _insert(db_sess: SASession, rows: SessionRows) -> tuple[dict[SessionId, _Times], set[SessionId]]:
    """Add what is not there; the answer is when each was added, and those of which only kernels were there."""
    session_rows = [(*row[:-1], _text_array(designated_agents(row))) for row in rows.sessions]
    new = await fetch_rows(db_sess, CREATE_SESSIONS, *_columns(session_rows, len(SESSION_COLUMNS)))
    times: dict[SessionId, _Times] = {row[0]: (row[1], row[2]) for row in new}
    kernel_rows = [
        (*row[:-1], array_text(requested_slots(row))) for row in rows.kernels if session_of(row) in times
    ]
    new_kernels = await fetch_rows(db_sess, CREATE_KERNELS, *_columns(kernel_rows, len(KERNEL_COLUMNS)))
    new_kernel_ids = {row[0] for row in new_kernels}
    incomplete = {session_of(row) for row in kernel_rows if row[0] not in new_kernel_ids}
    if incomplete:
        await fetch_rows(db_sess, UNCREATE_SESSIONS, list(incomplete))
        for session_id in incomplete:
            del times[session_id]
    await _copy_the_rest(
        db_sess,
        SessionRows(
            [],
            [],
            [row for row in rows.dependencies if row[0] in times],
            [row for row in rows.mounts if row[0] in times],
        ),
        list(times),
    )
    return times, incomplete


async def _copy_the_rest(db_sess: SASession, rows: SessionRows, session_ids: Sequence[SessionId]) -> None:
    """Add what belongs to sessions that were added: a statement for each kind that any of them has."""
    await copy_rows(db_sess, "session_dependencies", DEPENDENCY_COLUMNS, rows.dependencies)
    history = [(session_id, SessionStatus.PENDING.value) for session_id in session_ids]
    await copy_rows(db_sess, "session_history", ("session_id", "to_status"), history)
    await copy_rows(db_sess, "session_vfolder_mounts", MOUNT_COLUMNS, rows.mounts)


def _already_there(session: SessionCreationSpec, is_a_kernel: bool) -> RejectedSession:
    code = CreationRejectionCode.KERNEL_EXISTS if is_a_kernel else CreationRejectionCode.SESSION_EXISTS
    what = "one of its kernels" if is_a_kernel else "a session of this id"
    detail = f"{subject_of(session)}: {what} exists already; give new ids"
    return RejectedSession(session.session_id, code, printable(detail))


def _columns(rows: Sequence[Row], width: int) -> list[list[object]]:
    """Turn rows by columns, as unnest takes them; of no rows, too."""
    return [[row[place] for row in rows] for place in range(width)]


def _text_array(texts: Sequence[str]) -> str:
    """Write texts as PostgreSQL writes a text[]."""
    escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in escaped) + "}"
