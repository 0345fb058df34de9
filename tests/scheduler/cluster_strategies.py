"""Random clusters as rows, odd ones too: all that the schema's constraints let in."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

from hypothesis import strategies as st

from scheduler_repo.types import (
    FINISHED_STATUSES,
    OCCUPYING_STATUSES,
    AgentStatus,
    ClusterMode,
    PreemptionScope,
    SessionResult,
    SessionStatus,
    SessionType,
)
from tests.support.cluster_rows import ClusterRows, Row

T = TypeVar("T")

GROUPS: Final = ("gpu", "GPU", "grün")
# A locale would sort them otherwise: case, accents, punctuation, digits, and what is beyond 16 bits.
_NAMES: Final = ("a", "B", "b", "Ä", "ä", "_a", "-b", "a b", "Zz", "zZ", "10", "9", "~", "\uffee", "\U0001f600")
_OWNERS: Final = 4
_USERS: Final = [UUID(int=value << 64) for value in (1, 2, 0xFFFF_FFFF_0000_0000, 0x7F00)]
_PROJECTS: Final = [UUID(int=value) for value in (5, 1 << 127, 3 << 100, 7)]
_ARCHITECTURES: Final = ("x86_64", "aarch64")
_EPOCH: Final = datetime(2026, 3, 1, tzinfo=UTC)

_amounts = st.sampled_from([0, 0, 1, 2, 5, 2**40])
# Shorter and longer than the slot types, and than the eight that are summed as columns.
_vectors = st.lists(_amounts, max_size=6) | st.lists(_amounts, min_size=8, max_size=11)
_limits = st.none() | st.sampled_from([0, 1, 7, 2**62])
_limit_vectors = st.lists(_limits, max_size=6)
_counts = st.none() | st.sampled_from([0, 1, 5])
_times = st.integers(0, 3).map(lambda value: _EPOCH + timedelta(microseconds=value))
_groups = st.sampled_from([GROUPS[0], GROUPS[0], *GROUPS])


def _some(values: Sequence[T], least: int, most: int) -> st.SearchStrategy[list[T]]:
    """So many different values, each number as likely as another."""
    sizes = st.integers(least, min(most, len(values)))
    return sizes.flatmap(
        lambda size: (
            st.lists(st.sampled_from(values), min_size=size, max_size=size, unique=True)
            if size
            else st.just([])
        )
    )


@st.composite
def clusters(draw: st.DrawFn) -> ClusterRows:
    """A cluster of up to 5 agents and 9 sessions in three groups, one of which may be empty."""
    indexes = draw(_some([0, 1, 2, 3, 9], 0, 4))
    slot_names = draw(_some(_NAMES, len(indexes), len(indexes)))
    access_keys = draw(_some(_NAMES, _OWNERS, _OWNERS))
    domains = draw(_some(_NAMES, _OWNERS, _OWNERS))
    agent_ids = draw(_some(_NAMES, 0, 5))
    session_ids = draw(_some([UUID(int=value << shift) for value in range(1, 13) for shift in (0, 120)], 0, 9))
    policies = draw(_some(_NAMES, 0, 2))
    user_of = {key: draw(st.sampled_from(_USERS)) for key in access_keys}
    domain_of = {project: draw(st.sampled_from(domains)) for project in _PROJECTS}
    sessions = [draw(_session(session_id, user_of, domain_of)) for session_id in session_ids]
    kernels = [
        kernel
        for number, session in enumerate(sessions)
        for kernel in draw(_kernels(number, session, agent_ids))
    ]
    reservations = draw(_reservations(sessions))
    return {
        "slot_types": [
            {"name": name, "slot_index": index, "units_per_whole": 10**index, "display_unit": f"unit {index}"}
            for name, index in zip(slot_names, indexes, strict=True)
        ],
        "resource_policies": [draw(_policy(name)) for name in policies],
        "domains": [{"name": name} for name in domains],
        "projects": [{"id": owner, "name": str(owner), "domain_name": domain_of[owner]} for owner in _PROJECTS],
        "users": [{"id": owner, "name": str(owner), "domain_name": domains[0]} for owner in _USERS],
        "keypairs": [{"access_key": key, "user_id": user_of[key]} for key in access_keys],
        "quotas": draw(_quotas(access_keys, domains, policies)),
        "scaling_groups": [draw(_scaling_group(name)) for name in GROUPS],
        "agents": [draw(_agent(agent_id)) for agent_id in agent_ids],
        "agent_slots": [
            draw(_agent_slot(agent_id, slot_name))
            for agent_id in agent_ids
            for slot_name in draw(_some(slot_names, 0, 4))
        ],
        "sessions": sessions,
        "kernels": kernels,
        "session_dependencies": draw(_dependencies(session_ids)),
        "reservations": reservations,
        "kernel_reservations": draw(_kernel_reservations(reservations, kernels, agent_ids)),
    }


@st.composite
def _scaling_group(draw: st.DrawFn, name: str) -> Row:
    timeouts = st.none() | st.sampled_from([timedelta(microseconds=1), timedelta(days=40, seconds=3)])
    scopes = st.sampled_from([None, *(scope.value for scope in PreemptionScope)])
    return {
        "name": name,
        "is_active": draw(st.booleans()),
        "pending_timeout": draw(timeouts),
        "preemption_scope": draw(scopes),
        "preemption_min_runtime": draw(st.sampled_from([timedelta(), timedelta(days=1, microseconds=1)])),
    }


@st.composite
def _policy(draw: st.DrawFn, name: str) -> Row:
    return {
        "name": name,
        "slot_limits": draw(_limit_vectors),
        "max_concurrent_sessions": draw(_counts),
        "max_kernels_per_session": draw(_counts),
    }


@st.composite
def _quotas(draw: st.DrawFn, access_keys: list[str], domains: list[str], policies: list[str]) -> list[Row]:
    owners = [
        *(("ACCESS_KEY", key) for key in access_keys),
        *(("USER", str(user)) for user in _USERS),
        *(("PROJECT", str(project)) for project in _PROJECTS),
        *(("DOMAIN", domain) for domain in domains),
    ]
    return [
        {
            "scope": scope,
            "owner_id": owner_id,
            "resource_policy": draw(st.sampled_from([None, *policies])),
            "slot_limits": draw(_limit_vectors),
            "max_concurrent_sessions": draw(_counts),
        }
        for scope, owner_id in draw(_some(owners, 0, 6))
    ]


@st.composite
def _agent(draw: st.DrawFn, agent_id: str) -> Row:
    containers = draw(st.integers(0, 2))
    return {
        "id": agent_id,
        "scaling_group": draw(_groups),
        "status": draw(st.sampled_from([AgentStatus.ALIVE] * 5 + list(AgentStatus))).value,
        "is_schedulable": draw(st.sampled_from([True, True, True, False])),
        "address": f"tcp://{agent_id}",
        "architecture": draw(st.sampled_from(_ARCHITECTURES)),
        "container_count": containers,
        "max_containers": draw(st.sampled_from([None, containers, 9])),
    }


@st.composite
def _agent_slot(draw: st.DrawFn, agent_id: str, slot_name: str) -> Row:
    """A ledger that need not agree with the kernels: drift must be shown, not hidden."""
    capacity = draw(_amounts)
    occupied = draw(st.sampled_from([0, capacity // 2, capacity]))
    return {"agent_id": agent_id, "slot_name": slot_name, "capacity": capacity, "occupied": occupied}


@st.composite
def _session(draw: st.DrawFn, session_id: UUID, user_of: dict[str, UUID], domain_of: dict[UUID, str]) -> Row:
    likely = [SessionStatus.PENDING] * 9 + [SessionStatus.RUNNING] * 4
    status = draw(st.sampled_from(likely + list(SessionStatus)))
    results = st.sampled_from([None, *(result.value for result in SessionResult)])
    access_key, project = draw(st.sampled_from(list(user_of))), draw(st.sampled_from(list(domain_of)))
    return {
        "id": session_id,
        "name": draw(st.sampled_from(_NAMES)),
        "scaling_group": draw(_groups),
        "access_key": access_key,
        "user_id": user_of[access_key],
        "project_id": project,
        "domain_name": domain_of[project],
        "session_type": draw(st.sampled_from(SessionType)).value,
        "cluster_mode": draw(st.sampled_from(ClusterMode)).value,
        "priority": draw(st.sampled_from([-1, 10, 10, 2**31 - 1])),
        "status": status.value,
        "result": draw(results) if status in FINISHED_STATUSES else None,
        # Of agents that are there or not, in any order.
        "designated_agent_ids": draw(_some(_NAMES, 0, 3)),
        "created_at": draw(_times),
        "status_changed_at": draw(_times),
        "requested_start_at": draw(st.none() | _times),
    }


@st.composite
def _kernels(draw: st.DrawFn, number: int, session: Row, agent_ids: list[str]) -> list[Row]:
    """Kernels of one session; their status is now and then another than the session's."""
    occupying = [status.value for status in OCCUPYING_STATUSES]
    kernels: list[Row] = []
    for index in draw(_some([0, 1, 2, 7], 0, 3)):
        status = draw(st.sampled_from([session["status"]] * 4 + [status.value for status in SessionStatus]))
        agent_id = draw(st.sampled_from([None, *agent_ids])) if status != SessionStatus.PENDING else None
        if status in occupying and agent_id is None:
            if not agent_ids:
                continue
            agent_id = agent_ids[0]
        kernels.append(
            {
                "id": UUID(int=draw(st.integers(1, 50)) << 96 | number << 8 | index),
                "session_id": session["id"],
                "kernel_index": index,
                **{
                    column: session[column]
                    for column in ("scaling_group", "access_key", "user_id", "project_id", "domain_name")
                },
                "architecture": draw(st.sampled_from([None, *_ARCHITECTURES])),
                "status": status,
                "agent_id": agent_id,
                "requested_slots": draw(_vectors),
                "occupied_slots": draw(_vectors) if agent_id is not None else [],
            }
        )
    return kernels


@st.composite
def _reservations(draw: st.DrawFn, sessions: list[Row]) -> list[Row]:
    """Of some sessions, now and then of one that does not wait any more."""
    waiting = [session for session in sessions if session["status"] == SessionStatus.PENDING]
    among = draw(st.sampled_from([waiting, waiting, sessions]))
    reserved = draw(_some(range(len(among)), 0, 3))
    return [
        {"session_id": among[place]["id"], "scaling_group": among[place]["scaling_group"]} for place in reserved
    ]


@st.composite
def _kernel_reservations(
    draw: st.DrawFn, reservations: list[Row], kernels: list[Row], agent_ids: list[str]
) -> list[Row]:
    """Mostly all kernels of a reserved session, on agents of any group; now and then fewer."""
    if not agent_ids:
        return []
    reserved = {reservation["session_id"] for reservation in reservations}
    return [
        {
            "kernel_id": kernel["id"],
            "session_id": kernel["session_id"],
            "agent_id": draw(st.sampled_from(agent_ids)),
        }
        for kernel in kernels
        if kernel["session_id"] in reserved and draw(st.integers(0, 9)) > 0
    ]


@st.composite
def _dependencies(draw: st.DrawFn, session_ids: list[UUID]) -> list[Row]:
    """On sessions in any status and group, and on sessions that no longer exist."""
    if not session_ids:
        return []
    others = [*session_ids, UUID(int=0xDEAD), UUID(int=0xDEAD << 100)]
    pairs = [(one, other) for one in session_ids for other in others if one != other]
    return [{"session_id": one, "depends_on": other} for one, other in draw(_some(pairs, 0, 8))]
