"""The statements that add new sessions, with all that belongs to them: all or none, or each by itself."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from scheduler_repo.database.bulk import array_text, copy_rows
from scheduler_repo.database.engine import SASession, skips_locked
from scheduler_repo.database.lookups import SNAPSHOT, fetch_slot_names
from scheduler_repo.database.row_locks import (
    ALL_SCALING_GROUPS,
    KEYPAIRS,
    PROJECTS,
    SCALING_GROUPS,
    VFOLDERS,
    RowLocks,
    take_rows,
)
from scheduler_repo.database.statements import fetch_by_columns, fetch_rows, load_statement
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.session import RejectedSession, SessionCreationSpec, SessionInfo
from scheduler_repo.models import ScalingGroupRow
from scheduler_repo.scheduling.admission.creation import (
    CreationBatch,
    ExistingReferences,
    NewSession,
    build_session,
    reject_rings,
)
from scheduler_repo.scheduling.rules.dependencies import find_rings
from scheduler_repo.scheduling.rules.feasibility import total_slots
from scheduler_repo.steps import finish_in_slices, in_slices
from scheduler_repo.types import AgentId, SessionId, SessionStatus, SlotName, SlotVector, owner_ids, uuid_order

if TYPE_CHECKING:
    from asyncpg import Record

DEPENDENCY_LINKS = load_statement("session/dependency_links")
# All groups, as a ring may go through several; other new sessions, and allocations, do not wait for it.
HOLD_UP_RINGS: Final = (
    sa.select(ScalingGroupRow.name).order_by(ScalingGroupRow.name).with_for_update(key_share=True)
)
CREATION_REFERENCES = load_statement("session/creation_references")
CREATE_SESSIONS = load_statement("session/create_sessions")
CREATE_KERNELS = load_statement("session/create_kernels")
TAKE_BACK_SESSIONS = load_statement("session/take_back_sessions")

_QUEUE_AND_OWNERS: Final = ("scaling_group", "access_key", "user_id", "project_id", "domain_name")
_SESSION_COLUMNS: Final = (
    *("id", "name", *_QUEUE_AND_OWNERS, "session_type", "cluster_mode", "priority"),
    *("created_at", "requested_start_at", "designated_agent_ids"),
)
_KERNEL: Final = ("id", "session_id", "kernel_index")
_KERNEL_COLUMNS: Final = (*_KERNEL, *_QUEUE_AND_OWNERS, "image", "architecture", "requested_slots")
_Row = tuple[object, ...]
# created_at and status_changed_at of each session that was created.
_Times = dict[SessionId, tuple[datetime, datetime]]


# The rows that a new session names, and their keys.
_REFERENCES: Final[tuple[tuple[RowLocks, Callable[[SessionCreationSpec], Sequence[object]]], ...]] = (
    (SCALING_GROUPS, lambda spec: (spec.scaling_group,)),
    (KEYPAIRS, lambda spec: (spec.access_key,)),
    (PROJECTS, lambda spec: (spec.project_id,)),
    (VFOLDERS, lambda spec: [mount.vfolder_id for mount in spec.mounts]),
)


class CreatedSessions(NamedTuple):
    """The outcome of a batch: the sessions admitted, the times of those created, and the rejected."""

    admitted: list[NewSession]
    times: _Times
    rejected: tuple[RejectedSession, ...]


async def insert_sessions(
    db_sess: SASession, specs: Sequence[SessionCreationSpec], slot_names: Sequence[SlotName]
) -> None:
    """Add checked sessions with all that belongs to them, all or none.

    Raises UnknownSlotType, InvalidQuantity, and InvalidInput for a ring of dependencies. Costs up to six
    statements, whatever the number; two more if any depends on a session that is not there.
    """
    now, links, blocked = await _fetch_start(db_sess, specs)
    if blocked:
        # It says who holds which row.
        await db_sess.execute(HOLD_UP_RINGS)
    new = [
        build_session(spec, position, now, slot_names) async for position, spec in in_slices(enumerate(specs))
    ]
    for rejection in reject_rings(specs, await _find_rings(specs, links)):
        raise rejection.to_error()
    # In one order: of two callers with the same sessions the second waits, instead of deadlocking.
    ordered = sorted(new, key=lambda each: uuid_order(each.spec.session_id))
    await copy_rows(db_sess, "sessions", _SESSION_COLUMNS, _session_rows(ordered, sorted))
    await copy_rows(db_sess, "kernels", _KERNEL_COLUMNS, _kernel_rows(new, tuple))
    await _copy_the_rest(db_sess, new)


async def create_sessions(db_sess: SASession, specs: Sequence[SessionCreationSpec]) -> CreatedSessions:
    """Add each session of a batch that can be created; costs up to nine statements, whatever its size.

    Two more if any depends on a session that is not there.
    If another transaction creates the same sessions or kernels, this one waits for it and rejects them.
    """
    slot_names = await fetch_slot_names(db_sess)
    now, links, blocked = await _fetch_start(db_sess, specs)
    batch = await finish_in_slices(CreationBatch.judge(specs, now, slot_names))
    batch.reject_blocked(blocked)
    batch.reject_blocked(await _find_blocked(db_sess, batch.sound))
    admitted = await finish_in_slices(batch.admit(await _fetch_references(db_sess, batch.sound)))
    rings = await _find_rings([each.spec for each in admitted], links)
    admitted = batch.leave_out_rings(admitted, rings)
    times, incomplete = await _insert_missing(db_sess, admitted)
    await finish_in_slices(batch.reject_existing(times, incomplete))
    return CreatedSessions(admitted, times, batch.rejected)


async def _fetch_start(
    db_sess: SASession, specs: Sequence[SessionCreationSpec]
) -> "tuple[datetime, list[Record], dict[SessionId, RowLocked]]":
    """Read the clock, and all links of dependencies that lead on from those of the sessions.

    A ring goes through a session that was depended on before it was there. So whoever depends, by however many
    steps, on one that is not there waits for others who do, and looks again. A second try does not wait: the
    sessions that depend on others come apart then.
    """
    others: set[SessionId] = {other for spec in specs for other in filter(_is_id, spec.depends_on)}
    if not others:
        (snapshot,) = await fetch_rows(db_sess, SNAPSHOT)
        return snapshot["observed_at"], [], {}
    made = {spec.session_id for spec in specs}
    asked = [*made | others]
    links = await fetch_rows(db_sess, DEPENDENCY_LINKS, asked)
    if any(not link["is_stored"] and link["depends_on"] not in made for link in links):
        locked: dict[str, RowLocked] = await take_rows(db_sess, ALL_SCALING_GROUPS)
        for row in locked.values():
            return links[0]["observed_at"], links, {spec.session_id: row for spec in specs if spec.depends_on}
        await db_sess.execute(HOLD_UP_RINGS)
        links = await fetch_rows(db_sess, DEPENDENCY_LINKS, asked)
    return links[0]["observed_at"], links, {}


async def _find_rings(
    specs: Sequence[SessionCreationSpec], links: "Sequence[Record]"
) -> list[frozenset[SessionId]]:
    """Find the rings of dependencies that sessions close which are not there yet."""
    stored = {link["depends_on"] for link in links if link["is_stored"]}
    new = (
        (spec.session_id, other) for spec in specs for other in spec.depends_on if spec.session_id not in stored
    )
    old = ((link["session_id"], link["depends_on"]) for link in links if link["session_id"] is not None)
    return await finish_in_slices(find_rings(chain(new, old)))


def _is_id(value: object) -> bool:
    # One that is none is refused with its session.
    return isinstance(value, UUID)


async def _find_blocked(db_sess: SASession, specs: Sequence[SessionCreationSpec]) -> dict[SessionId, RowLocked]:
    """In a second try find the sessions that name a row which another transaction has locked."""
    if not skips_locked(db_sess):
        return {}
    blocked: dict[SessionId, RowLocked] = {}
    for rows, names_of in _REFERENCES:
        named = {spec.session_id: names_of(spec) for spec in specs}
        wanted = list(set(chain.from_iterable(named.values())))
        locked: dict[object, RowLocked] = await take_rows(db_sess, rows, wanted)
        for session_id, names in named.items():
            for name in names if locked else ():
                if name in locked:
                    blocked.setdefault(session_id, locked[name])
    return blocked


async def _fetch_references(db_sess: SASession, specs: Sequence[SessionCreationSpec]) -> ExistingReferences:
    """Read which groups, owners and vfolders of those that the specs name exist; locks all but the vfolders."""
    rows = await fetch_rows(
        db_sess,
        CREATION_REFERENCES,
        list({spec.scaling_group for spec in specs}),
        list({spec.access_key for spec in specs}),
        list({spec.project_id for spec in specs}),
        list({mount.vfolder_id for spec in specs for mount in spec.mounts}),
    )
    # A row names one of the four, the others are NULL.
    return ExistingReferences(
        scaling_groups=frozenset(row["scaling_group"] for row in rows),
        key_owners=frozenset((row["access_key"], row["user_id"]) for row in rows),
        project_domains=frozenset((row["project_id"], row["domain_name"]) for row in rows),
        vfolders=frozenset(row["vfolder_id"] for row in rows),
    )


async def _insert_missing(db_sess: SASession, new: Sequence[NewSession]) -> tuple[_Times, set[SessionId]]:
    """Add the sessions that are not there yet; return their times, and those of which a kernel was there."""
    rows = await _in_order(_session_rows(new, _ordered_text_array))
    found = await fetch_by_columns(db_sess, CREATE_SESSIONS, len(_SESSION_COLUMNS), rows)
    times: _Times = {session_id: (created_at, changed_at) for session_id, created_at, changed_at in found}
    inserted = [each for each in new if each.spec.session_id in times]
    rows = await _in_order(_kernel_rows(inserted, array_text))
    added = await fetch_by_columns(db_sess, CREATE_KERNELS, len(_KERNEL_COLUMNS), rows)
    kernel_ids = {row["id"] for row in added}
    incomplete = {
        each.spec.session_id
        async for each in in_slices(inserted)
        if not kernel_ids.issuperset(kernel.kernel_id for kernel in each.spec.kernels)
    }
    if incomplete:
        await fetch_rows(db_sess, TAKE_BACK_SESSIONS, list(incomplete))
        for session_id in incomplete:
            del times[session_id]
    await _copy_the_rest(db_sess, [each for each in inserted if each.spec.session_id in times])
    return times, incomplete


async def _copy_the_rest(db_sess: SASession, new: Sequence[NewSession]) -> None:
    """Add what belongs to sessions that were added: a statement for each kind that any of them has."""
    specs = [each.spec for each in new]
    dependencies = ((spec.session_id, other) for spec in specs for other in spec.depends_on)
    await copy_rows(db_sess, "session_dependencies", ("session_id", "depends_on"), dependencies)
    history = ((spec.session_id, SessionStatus.PENDING.value) for spec in specs)
    await copy_rows(db_sess, "session_history", ("session_id", "to_status"), history)
    mounts = (
        (spec.session_id, mount.vfolder_id, mount.mount_path, mount.permission.value)
        for spec in specs
        for mount in spec.mounts
    )
    columns = ("session_id", "vfolder_id", "mount_path", "permission")
    await copy_rows(db_sess, "session_vfolder_mounts", columns, mounts)


def _session_rows(
    new: Iterable[NewSession], write_array: Callable[[Sequence[AgentId]], object]
) -> Iterator[_Row]:
    for each in new:
        spec = each.spec
        kind = (spec.session_type.value, spec.cluster_mode.value, spec.priority)
        own = (*kind, each.created_at, spec.requested_start_at, write_array(spec.designated_agent_ids))
        yield spec.session_id, spec.name, spec.scaling_group, *owner_ids(spec), *own


def _kernel_rows(new: Iterable[NewSession], write_array: Callable[[SlotVector], object]) -> Iterator[_Row]:
    for each in new:
        spec, owners = each.spec, owner_ids(each.spec)
        for index, (kernel, slots) in enumerate(zip(spec.kernels, each.requested_slots, strict=True)):
            own = (kernel.image, kernel.architecture, write_array(slots))
            yield kernel.kernel_id, spec.session_id, index, spec.scaling_group, *owners, *own


async def _in_order(rows: Iterable[_Row]) -> list[_Row]:
    """Make rows, in the order of their ids: of two callers with the same ids the second waits."""
    made = [row async for row in in_slices(rows)]
    return sorted(made, key=lambda row: uuid_order(row[0]))


def _ordered_text_array(texts: Sequence[str]) -> str:
    """Write texts in order, as PostgreSQL writes a text[]."""
    escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in sorted(texts))
    return "{" + ",".join(f'"{text}"' for text in escaped) + "}"


def build_created_info(created: CreatedSessions) -> SessionInfo:
    """Build the only session of a batch, which was created, as lists show it."""
    (new,) = created.admitted
    spec = new.spec
    created_at, status_changed_at = created.times[spec.session_id]
    return SessionInfo(
        session_id=spec.session_id,
        name=spec.name,
        scaling_group=spec.scaling_group,
        access_key=spec.access_key,
        session_type=spec.session_type,
        status=SessionStatus.PENDING,
        result=None,
        created_at=created_at,
        status_changed_at=status_changed_at,
        requested_slots=total_slots(new.requested_slots),
    )
